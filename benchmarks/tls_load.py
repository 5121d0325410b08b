"""`load.c` over TLS, with the arguments and the output of that program: `tls_load.py tls:PORT CONNECTIONS BYTES SECONDS`.

In Python because OpenSSL's headers are rarely installed and the `ssl` module always is. What it does per message is one `send`
and one `recv` of OpenSSL, so it has headroom over a server that also runs an event loop.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain)
    connection.setblocking(False)
    return connection


def main() -> None:
    address, number, size, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    message = b"x" * size
    epoll = select.epoll()
    connections: dict[int, ssl.SSLSocket] = {}
    missing: dict[int, int] = {}
    began: dict[int, float] = {}

    for _ in range(number):
        connection = connect(int(address.removeprefix("tls:")), context)
        connections[connection.fileno()] = connection
        epoll.register(connection.fileno(), select.EPOLLIN)
    for fd, connection in connections.items():
        missing[fd], began[fd] = size, time.perf_counter()
        connection.send(message)

    start = time.perf_counter() + seconds / 4
    end = start + seconds
    waits: list[float] = []
    while (now := time.perf_counter()) < end:
        for fd, _ in epoll.poll(1, 1024):
            connection = connections[fd]
            try:
                data = connection.recv(65536)
            except ssl.SSLWantReadError:
                continue
            if not data:
                raise SystemExit("the server closed a connection")
            missing[fd] -= len(data)
            if not missing[fd]:
                now = time.perf_counter()
                if now >= start:
                    waits.append((now - began[fd]) * 1e6)
                missing[fd], began[fd] = size, now
                connection.send(message)
    waits.sort()
    count = len(waits)
    p50, p99 = (waits[count // 2], waits[count * 99 // 100]) if count else (0, 0)
    print(json.dumps({"messages": count, "seconds": now - start, "p50": p50, "p99": p99}))


if __name__ == "__main__":
    main()
