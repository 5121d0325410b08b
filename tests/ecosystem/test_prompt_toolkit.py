"""prompt_toolkit: many prompts at once, each with its input: pipes, and terminals that go away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import Input, PipeInput, create_pipe_input
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.output import DummyOutput

from tests.support import Run

from .support import CUT, MANY, at_once, cut_off

LEFT, END, CONTROL_C = "\x1b[D", "\x05", "\x03"


@contextmanager
def session_on(keys: Input) -> Iterator[PromptSession[str]]:
    """A session of its own, so that several prompts can be shown at once: the library's current application is its session's."""
    with create_app_session(input=keys, output=DummyOutput()):
        yield PromptSession()


async def show(session: PromptSession[str]) -> str:
    # Several prompts cannot each handle SIGINT and put back what was there.
    return await session.prompt_async("> ", handle_sigint=False)


@contextmanager
def typing() -> Iterator[tuple[PromptSession[str], PipeInput]]:
    with create_pipe_input() as keys, session_on(keys) as session:
        yield session, keys


def test_many_prompts_at_once(on_loop: Run) -> None:
    async def main() -> None:
        together = asyncio.Barrier(MANY)

        async def ask(number: int) -> list[str]:
            with typing() as (session, keys):
                answers = []
                for n in range(3):
                    prompt = asyncio.ensure_future(show(session))
                    # All of them are waiting for their keys.
                    await together.wait()
                    keys.send_text(f"{number}.{LEFT}{n}")
                    keys.send_text(f"{END} done\r")
                    answers.append(await prompt)
                return answers

        assert await at_once(ask) == [[f"{number}{n}. done" for n in range(3)] for number in range(MANY)]

    on_loop(main)


def test_cut_off_prompts_leave_a_session_that_works(on_loop: Run) -> None:
    async def main() -> None:
        async def ask(number: int) -> str:
            with typing() as (session, keys):
                await cut_off(lambda: show(session))
                keys.send_text(CONTROL_C)
                with pytest.raises(KeyboardInterrupt):
                    await show(session)
                keys.send_text(f"{number}\r")
                return await show(session)

        assert await at_once(ask) == [str(number) for number in range(MANY)]

    on_loop(main)


def test_interrupt_reaches_the_prompt_and_leaves_the_handler_as_it_was(on_loop: Run) -> None:
    async def main() -> None:
        with typing() as (session, _):
            for _ in range(2):
                asyncio.get_running_loop().call_later(CUT, signal.raise_signal, signal.SIGINT)
                with pytest.raises(KeyboardInterrupt):
                    await session.prompt_async("> ")

    on_loop(main)


def test_terminal_goes_away(on_loop: Run) -> None:
    async def main() -> None:
        together = asyncio.Barrier(MANY)

        async def ask(number: int) -> None:
            terminal, ours = os.openpty()
            with open(ours) as file, session_on(Vt100Input(file)) as session:
                os.write(terminal, f"{number}\r".encode())
                assert await show(session) == str(number)
                prompt = asyncio.ensure_future(show(session))
                await together.wait()
                os.close(terminal)
                with pytest.raises(EOFError):
                    await prompt

        await at_once(ask)

    on_loop(main)
