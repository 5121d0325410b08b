"""`load.c` over TLS, with the arguments, the input and the output of that program: `tls_load.py tls:PORT CONNECTIONS BYTES`.

In Python because OpenSSL's headers are rarely installed and the `ssl` module always is. What it does per message is one `send`
and one `recv` of OpenSSL, so it has headroom over a server that also runs an event loop.
"""

from __future__ import annotations

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
    address, number, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    epoll = select.epoll()
    connections: dict[int, ssl.SSLSocket] = {}
    for _ in range(number):
        connection = connect(int(address.removeprefix("tls:")), context)
        connections[connection.fileno()] = connection
        epoll.register(connection.fileno(), select.EPOLLIN)
    for line in sys.stdin:
        print(measure(epoll, connections, b"x" * size, float(line)), flush=True)


def measure(epoll: select.epoll, connections: dict[int, ssl.SSLSocket], message: bytes, seconds: float) -> int:
    """Messages that have come back between a quarter of `seconds` from now and `seconds` later."""
    missing = dict.fromkeys(connections, len(message))
    start = time.perf_counter() + seconds / 4
    end = start + seconds
    messages = 0
    for connection in connections.values():
        connection.send(message)
    while missing:
        for fd, _ in epoll.poll(10, 1024):
            connection = connections[fd]
            try:
                data = connection.recv(65536)
            except ssl.SSLWantReadError:
                continue
            if not data:
                raise SystemExit("the server closed a connection")
            missing[fd] -= len(data)
            if missing[fd]:
                continue
            now = time.perf_counter()
            if now >= end:
                del missing[fd]
                continue
            messages += now >= start
            missing[fd] = len(message)
            connection.send(message)
    return messages


if __name__ == "__main__":
    main()
