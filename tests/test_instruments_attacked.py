"""Instruments that raise, and that come and go in the middle of things: the loop goes on, whatever they do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import LoopInstrument, TrioEventLoop, aio_as_trio, open_loop

from .support import Records, Run

HOOKS = [name for name in vars(LoopInstrument) if name.startswith(("before_", "after_"))]


def this_loop() -> TrioEventLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TrioEventLoop)
    return loop


class InHook(LoopInstrument):
    """Calls `act` the first time that the hook is called."""

    def __init__(self, hook: str, act: Any) -> None:
        self.acted = False

        def call(*args: object) -> None:
            if not self.acted:
                self.acted = True
                act(self)

        setattr(self, hook, call)


def in_hook(hook: str, act: Any) -> InHook:
    # The loop asks the class which hooks there are.
    kind: Any = type("InThisHook", (InHook,), {hook: lambda *args: None})
    made: InHook = kind(hook, act)
    return made


def raises(error: type[BaseException]) -> Any:
    def act(instrument: LoopInstrument) -> None:
        raise error

    return act


def removes_itself(instrument: LoopInstrument) -> None:
    this_loop().remove_instrument(instrument)


def removes_itself_and_raises(instrument: LoopInstrument) -> None:
    this_loop().remove_instrument(instrument)
    raise ZeroDivisionError


def adds_another(instrument: LoopInstrument) -> None:
    this_loop().add_instrument(LoopInstrument())


def switches_debug_mode_on_and_off(instrument: LoopInstrument) -> None:
    this_loop().set_debug(True)
    this_loop().set_debug(False)


async def callbacks_waits_and_first_steps() -> list[int]:
    ran: list[int] = []
    this_loop().call_soon(ran.append, 1)
    this_loop().call_soon(ran.append, 2)
    for _ in range(3):
        await asyncio.sleep(0.001)
    this_loop().call_soon(ran.append, 3)
    await asyncio.sleep(0)
    return ran


@pytest.mark.parametrize("act", [removes_itself, removes_itself_and_raises, adds_another, switches_debug_mode_on_and_off])
@pytest.mark.parametrize("hook", HOOKS)
def test_the_only_instrument_may_do_that_in_any_hook(hook: str, act: Any, our_run: Run) -> None:
    async def main() -> tuple[list[int], bool]:
        instrument = in_hook(hook, act)
        this_loop().add_instrument(instrument)
        return await callbacks_waits_and_first_steps(), instrument.acted

    assert our_run(main) == ([1, 2, 3], True)
    assert len(our_run.log.take()) == (act is removes_itself_and_raises)


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("hook", HOOKS)
def test_whatever_the_only_instrument_raises_the_loop_goes_on_without_it(hook: str, error: type[BaseException], our_run: Run) -> None:
    async def main() -> list[int]:
        instrument = in_hook(hook, raises(error))
        this_loop().add_instrument(instrument)
        ran = await callbacks_waits_and_first_steps()
        with pytest.raises(KeyError):
            this_loop().remove_instrument(instrument)
        assert type(this_loop()._scheduler).__name__ == "Scheduler"
        return ran

    assert our_run(main) == [1, 2, 3]
    (message,) = our_run.log.take()
    assert f"raised in {hook}(), and was removed" in message


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("hook", HOOKS)
def test_an_exit_that_an_instrument_asks_for_is_not_lost(hook: str, error: type[BaseException], our_run: Run) -> None:
    async def main() -> None:
        this_loop().add_instrument(in_hook(hook, raises(error)))
        await asyncio.sleep(0.001)
        await asyncio.Event().wait()

    with pytest.raises(error):
        our_run(main)
    (message,) = our_run.log.take()
    assert f"raised in {hook}(), and was removed" in message


def test_an_instrument_that_raises_in_the_first_step_of_a_call_does_not_stop_it(hosted_run: Run) -> None:
    async def first() -> str:
        return "done"

    async def main() -> str:
        this_loop().add_instrument(in_hook("before_callback", raises(GeneratorExit)))
        return await aio_as_trio(first)()

    assert hosted_run.trio_run(main) == "done"
    assert len(hosted_run.log.take()) == 1


def test_a_callback_may_remove_the_last_instrument(our_run: Run) -> None:
    async def main() -> list[int]:
        instrument, ran = LoopInstrument(), list[int]()
        this_loop().add_instrument(instrument)
        await asyncio.sleep(0)
        this_loop().call_soon(this_loop().remove_instrument, instrument)
        this_loop().call_soon(ran.append, 1)
        this_loop().call_soon(ran.append, 2)
        await asyncio.sleep(0.001)
        return ran

    assert our_run(main) == [1, 2]


@pytest.mark.parametrize("before", [False, True])
def test_a_callback_may_switch_debug_mode(before: bool, our_run: Run) -> None:
    async def main() -> list[int]:
        ran: list[int] = []
        for enabled in (before, not before, before):
            this_loop().call_soon(this_loop().set_debug, enabled)
            this_loop().call_soon(ran.append, 1)
            this_loop().call_soon(ran.append, 2)
            await asyncio.sleep(0.001)
        return ran

    assert our_run(main, debug=before) == [1, 2] * 3


def test_one_that_comes_while_the_loop_waits_does_not_hide_the_end_of_the_wait_from_another(hosted_run: Run) -> None:
    waits: list[str] = []

    class Waits(LoopInstrument):
        def before_io_wait(self, timeout: float) -> None:
            waits.append("{")

        def after_io_wait(self, timeout: float) -> None:
            waits.append("}")

    async def main() -> None:
        this_loop().add_instrument(Waits())
        await aio_as_trio(asyncio.sleep)(0.001)
        await trio.testing.wait_all_tasks_blocked()
        this_loop().add_instrument(LoopInstrument())
        waits.append("added")
        await aio_as_trio(asyncio.sleep)(0.001)

    hosted_run.trio_run(main)
    text = "".join(waits)
    assert "{added}" in text


def test_a_first_step_that_adds_an_instrument_leaves_callbacks_in_its_callers_context_as_they_are(clean: Records) -> None:
    ran: list[int] = []

    async def main() -> None:
        async with open_loop() as loop:
            own = trio.lowlevel.current_task().context

            async def first() -> None:
                loop.call_soon(ran.append, 1, context=own)
                loop.add_instrument(LoopInstrument())
                await asyncio.sleep(0.001)

            # Once the pump is parked, the slice after a first step is made together with it.
            await aio_as_trio(asyncio.sleep)(0.001)
            await aio_as_trio(first)()

    trio.run(main)
    assert ran == [1]


def test_what_an_instrument_of_debug_mode_has_not_seen_end_is_not_reported_later(clean: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("trio_asyncio_compat._slowness._now", lambda: now)

    async def switches(enabled: bool) -> None:
        this_loop().set_debug(enabled)

    async def main() -> None:
        nonlocal now
        async with open_loop(debug=True) as loop:
            # Keeps the classes as they are.
            loop.add_instrument(LoopInstrument())
            await aio_as_trio(asyncio.sleep)(0)
            await aio_as_trio(loop.create_task(switches(False)))
            await trio.testing.wait_all_tasks_blocked()
            now += 60
            await aio_as_trio(loop.create_task(switches(True)))
            await trio.testing.wait_all_tasks_blocked()
            assert loop._current_handle is None

    trio.run(main)
    assert clean.take() == []


def test_the_time_between_two_drives_is_nobodys_slowness(clean: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("trio_asyncio_compat._slowness._now", lambda: now)
    with asyncio.Runner(debug=True, loop_factory=TrioEventLoop) as runner:
        runner.run(asyncio.sleep(0))
        now += 60
        runner.run(asyncio.sleep(0))
    assert clean.take() == []
