"""Transports over trio streams until their end: loops that shut down, drives that end, any order of calls."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import trio_asyncio_compat
from trio_asyncio_compat import open_loop, trio_as_aio, trio_stream_as_aio, trio_stream_as_transport

from ..connections import Recorder
from ..support import Run
from .support import KeepsOpen

DATA = hashlib.shake_256(b"streams").digest(3_000_000)


def test_a_loop_that_shuts_down_closes_its_streams(hosted_run: Run) -> None:
    ours, peer = trio.testing.memory_stream_pair()

    class Late(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            self.events.append(f"lost: {exc}")

    protocols: list[Late] = []
    written: list[bytes] = []

    async def main() -> None:
        async def writes_when_cancelled() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                transport.write(b"farewell")
                written.append(bytes(await trio_as_aio(peer.receive_some)(100)))

        transport, protocol = trio_stream_as_transport(ours, Late)
        protocols.append(protocol)
        asyncio.ensure_future(writes_when_cancelled())
        await protocol.made

    hosted_run(main)
    # As over a socket: it goes on while tasks unwind.
    assert written == [b"farewell"]
    assert protocols[0].events == ["made", "lost: None"]

    async def closed() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some(1)

    trio.run(closed)


@pytest.mark.parametrize("end", ["cancelled", "stopped", "SystemExit"])
def test_a_loop_that_ends_otherwise_closes_its_streams_too(hosted_run: Run, end: str) -> None:
    ours, peer = trio.testing.lockstep_stream_pair()
    protocols: list[Recorder] = []

    def leave() -> None:
        raise SystemExit(3)

    async def hosted() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            transport, protocol = trio_stream_as_transport(ours, Recorder)
            protocols.append(protocol)
            # Nobody receives it.
            transport.write(DATA)
            await trio.testing.wait_all_tasks_blocked()
            if end == "SystemExit":
                loop.call_soon(leave)
            if end == "stopped":
                loop.stop()
            else:
                await trio.sleep_forever()

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hosted)
                await trio.testing.wait_all_tasks_blocked(0.01)
                if end == "cancelled":
                    scope.cancel()
        with pytest.raises(trio.ClosedResourceError):
            await ours.send_all(b"x")
        assert len(b"".join([bytes(piece) async for piece in peer])) < len(DATA)

    try:
        trio.run(main)
    except* SystemExit:
        assert end == "SystemExit"
    assert protocols[0].events == ["pause", "made", "lost"]


@pytest.mark.parametrize("poller", ["nested", "task"])
def test_a_stream_ends_with_the_drive_that_it_was_made_in(poller: Any, clean: Any) -> None:
    loop = trio_asyncio_compat.TrioEventLoop(poller=poller)
    ours, peer = socket.socketpair()

    async def first() -> Recorder:
        _, protocol = trio_stream_as_transport(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), Recorder)
        await protocol.made
        return protocol

    with peer:
        protocol = loop.run_until_complete(first())
        assert peer.recv(1) == b""
        assert not protocol.lost.done()
        assert type(loop.run_until_complete(asyncio.wait_for(protocol.lost, 5))) is ConnectionAbortedError
    assert not loop._streams and not loop._carried
    loop.close()


def test_a_stream_needs_an_open_loop() -> None:
    with pytest.raises(RuntimeError, match="open_loop"):
        trio_stream_as_transport(trio.testing.memory_stream_pair()[0], asyncio.Protocol)


SIZES = st.integers(0, 150_000)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), SIZES),
        st.tuples(st.just("writelines"), SIZES),
        st.tuples(st.just("limit"), st.sampled_from([0, 1, 1000, 100_000])),
        st.tuples(st.sampled_from(["turn", "drain", "pause", "resume"]), st.just(0)),
    ),
    max_size=12,
)


@pytest.mark.parametrize("pair", [trio.testing.memory_stream_pair, trio.testing.lockstep_stream_pair])
@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_any_order_of_writes_and_pauses_keeps_the_bytes(hosted_run: Run, pair: Any, end: str) -> None:
    async def talk(steps: list[tuple[str, int]], back: int) -> None:
        ours, peer = pair()
        transport, protocol = trio_stream_as_transport(ours, KeepsOpen)
        reader, writer = trio_stream_as_aio(peer)
        # To write to somebody who has closed would be an error.
        writer.write(DATA[: back if end == "write_eof" else 0])
        writer.write_eof()
        reading = asyncio.ensure_future(reader.read())
        expected = hashlib.sha256()
        for step, size in steps:
            if step == "write":
                transport.write(DATA[:size])
                expected.update(DATA[:size])
            elif step == "writelines":
                changed = bytearray(DATA[size // 2 : size])
                transport.writelines([DATA[: size // 2], changed])
                expected.update(DATA[:size])
                changed[:] = bytes(len(changed))
            elif step == "limit":
                transport.set_write_buffer_limits(high=size)
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "drain" and protocol.events.count("pause") > protocol.events.count("resume"):
                protocol.resumed.clear()
                await protocol.resumed.wait()
            elif step == "pause":
                transport.pause_reading()
            elif step == "resume":
                transport.resume_reading()
        if end == "write_eof":
            transport.write_eof()
            transport.resume_reading()
            await protocol.ended
            assert protocol.data == DATA[:back]
        transport.close()
        assert hashlib.sha256(await reading).digest() == expected.digest()
        assert await protocol.lost is None
        flow = [event for event in protocol.events if event in ("pause", "resume")]
        assert flow == ["pause", "resume"] * (len(flow) // 2) + ["pause"] * (len(flow) % 2)
        writer.close()
        await writer.wait_closed()

    @settings(max_examples=25, deadline=None)
    @given(steps=STEPS, back=SIZES)
    def check(steps: list[tuple[str, int]], back: int) -> None:
        hosted_run(talk, steps, back)

    check()
