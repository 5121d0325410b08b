"""Makes up random programs, from any `random.Random`: one with a seed, or Hypothesis's, which can shrink what fails."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

from .programs import (
    Allow,
    Body,
    CallAsyncio,
    CallTrio,
    Fail,
    Finally,
    Flavour,
    Group,
    Nursery,
    Scope,
    ScopeFromAsyncio,
    Sleep,
    Step,
    Swallow,
    Timeout,
    TimeoutFromTrio,
)

_BLOCKS: dict[Flavour, tuple[type[Step], ...]] = {
    Flavour.TRIO: (Scope, Nursery, CallAsyncio, CallAsyncio, Allow, Allow, TimeoutFromTrio, Finally, Swallow),
    Flavour.ASYNCIO: (Timeout, Group, CallTrio, CallTrio, ScopeFromAsyncio, Finally, Swallow),
    Flavour.MIXED: (Scope, Nursery, Timeout, Group, CallAsyncio, CallTrio, TimeoutFromTrio, ScopeFromAsyncio, Finally, Swallow),
}


class Generator:
    """Makes programs by the lots that `lot` draws."""

    def __init__(self, lot: random.Random) -> None:
        self._lot = lot

    def program(self) -> Body:
        return self.body(Flavour.TRIO, self._lot.randint(2, 5))

    def body(self, flavour: Flavour, depth: int) -> Body:
        """Code in `flavour`, with at most `depth` blocks inside of each other."""
        return tuple(self.step(flavour, depth) for _ in range(self._lot.choice((1, 1, 2, 3))))

    def step(self, flavour: Flavour, depth: int) -> Step:
        lot, leaf = self._lot, self._lot.random()
        if depth == 0 or leaf < 0.3:
            if leaf < 0.03:
                return Fail(lot.randint(0, 9))
            of_trio = lot.random() < 0.5 if flavour is Flavour.MIXED else flavour is Flavour.TRIO
            return Sleep(0 if lot.random() < 0.2 else self.seconds(), of_trio)
        kind = lot.choice(_BLOCKS[flavour])
        inner = {CallAsyncio: Flavour.ASYNCIO, CallTrio: Flavour.TRIO, Allow: Flavour.MIXED}.get(kind, flavour)
        body = self.body(inner, depth - 1)
        if kind is Scope:
            return Scope(body, self.perhaps(), self.perhaps(), lot.random() < 0.5, lot.random() < 0.3)
        if kind is Nursery or kind is Group:
            flavour_of_children = Flavour.TRIO if kind is Nursery else Flavour.ASYNCIO
            return kind(body, tuple(self.body(flavour_of_children, depth - 1) for _ in range(lot.randint(0, 2))))
        if kind is CallAsyncio or kind is Allow:
            return kind(body, self.perhaps(), lot.random() < 0.5)
        if kind is Timeout or kind is TimeoutFromTrio or kind is ScopeFromAsyncio:
            return kind(body, self.seconds())
        if kind is Finally:
            return Finally(body, self.body(flavour, depth - 1))
        return CallTrio(body) if kind is CallTrio else Swallow(body)

    def seconds(self) -> int:
        # Of a wide range, so that two things rarely happen at the same time.
        return self._lot.randint(1, 1999)

    def perhaps(self) -> int | None:
        return self.seconds() if self._lot.random() < 0.5 else None


def shrink(program: Body, fails: Callable[[Body], bool]) -> Body:
    """A smaller program that fails as well."""
    while True:
        for smaller in _smaller(program):
            if fails(smaller):
                program = smaller
                break
        else:
            return program


def _smaller(body: Body) -> Iterator[Body]:
    for index, step in enumerate(body):
        before, after = body[:index], body[index + 1 :]
        yield before + after
        if hasattr(step, "body") and not isinstance(step, (CallAsyncio, CallTrio, Allow)):
            yield before + step.body + after
        for smaller in _smaller_step(step):
            yield (*before, smaller, *after)


def _smaller_step(step: Step) -> Iterator[Step]:
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        alternatives: list[object] = []
        if field.name in ("body", "cleanup"):
            alternatives += _smaller(value)
        elif field.name == "children":
            alternatives += (value[:index] + value[index + 1 :] for index in range(len(value)))
            alternatives += (
                (*value[:index], child, *value[index + 1 :]) for index in range(len(value)) for child in _smaller(value[index])
            )
        elif field.name in ("deadline", "cancelled") and step.__dataclass_fields__[field.name].default is None and value is not None:
            alternatives.append(None)
        if isinstance(value, bool) and value and field.name != "of_trio":
            alternatives.append(False)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 9:
            alternatives += [value // 2, value - value % 10]
        for alternative in alternatives:
            changed: Any = {field.name: alternative}
            yield dataclasses.replace(step, **changed)
