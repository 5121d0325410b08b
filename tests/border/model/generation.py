"""Makes up random programs."""

from __future__ import annotations

from hypothesis import strategies as st

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

# Wide, so that two things rarely happen at the same time.
_seconds = st.integers(1, 999)
_maybe_seconds = st.none() | _seconds
_sleeps = st.just(0) | _seconds | _seconds

_IN = {
    Flavour.TRIO: (Scope, Nursery, CallAsyncio, Allow, TimeoutFromTrio, Finally, Swallow),
    Flavour.ASYNCIO: (Timeout, Group, CallTrio, ScopeFromAsyncio, Finally, Swallow),
    Flavour.MIXED: (Scope, Nursery, Timeout, Group, CallAsyncio, CallTrio, TimeoutFromTrio, ScopeFromAsyncio, Finally, Swallow),
}


@st.composite
def steps(draw: st.DrawFn, flavour: Flavour, depth: int) -> Step:
    """One step of code in `flavour`, with at most `depth` blocks inside of each other."""
    kind = draw(st.sampled_from((Sleep, Fail) + _IN[flavour] * 2 if depth else (Sleep, Sleep, Sleep, Fail)))

    def body(inner: Flavour = flavour) -> Body:
        return draw(bodies(inner, depth - 1))

    def children(inner: Flavour) -> tuple[Body, ...]:
        return tuple(draw(st.lists(bodies(inner, depth - 1), max_size=2)))

    if kind is Sleep:
        of_trio = draw(st.booleans()) if flavour is Flavour.MIXED else flavour is Flavour.TRIO
        return Sleep(draw(_sleeps), of_trio)
    if kind is Fail:
        return Fail(draw(st.integers(0, 9)))
    if kind is Scope:
        return Scope(body(), draw(_maybe_seconds), draw(_maybe_seconds), draw(st.booleans()), draw(st.booleans()))
    if kind is Nursery:
        return Nursery(body(), children(Flavour.TRIO))
    if kind is Timeout:
        return Timeout(body(), draw(_seconds))
    if kind is Group:
        return Group(body(), children(Flavour.ASYNCIO))
    if kind is CallAsyncio:
        return CallAsyncio(body(Flavour.ASYNCIO), draw(_maybe_seconds), draw(st.booleans()))
    if kind is CallTrio:
        return CallTrio(body(Flavour.TRIO))
    if kind is Allow:
        return Allow(body(Flavour.MIXED), draw(_maybe_seconds), draw(st.booleans()))
    if kind is TimeoutFromTrio:
        return TimeoutFromTrio(body(), draw(_seconds))
    if kind is ScopeFromAsyncio:
        return ScopeFromAsyncio(body(), draw(_seconds))
    if kind is Finally:
        return Finally(body(), body())
    return Swallow(body())


@st.composite
def bodies(draw: st.DrawFn, flavour: Flavour, depth: int) -> Body:
    """Code in `flavour`."""
    return tuple(draw(st.lists(steps(flavour, depth), min_size=1, max_size=3)))


programs = bodies(Flavour.TRIO, 4)
