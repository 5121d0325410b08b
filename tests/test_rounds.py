"""How the benchmarks measure: the processes of a round take turns, and one that fails hides nothing of the others."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil

import pytest

from benchmarks import rounds
from benchmarks.load import Load
from benchmarks.row import Result, Row, joined, repeating
from benchmarks.rows import ROWS


class Fakes:
    """Workers in this process: who was asked for what, in order."""

    def __init__(self, lengths: dict[str, float]) -> None:
        self.lengths = lengths
        self.asked: list[tuple[str, float]] = []
        self.ended: list[str] = []

    def working(self, loop: str, row: Row) -> Fake:
        return Fake(self, loop)


class Fake:
    def __init__(self, of: Fakes, loop: str) -> None:
        self.of = of
        self.loop = loop

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.of.ended.append(self.loop)

    def wait_until_ready(self) -> None:
        if self.loop == "never ready":
            raise rounds.MeasurementError("never")

    def measure(self, seconds: float) -> Result:
        self.of.asked.append((self.loop, seconds))
        if self.loop == "fails later" and len(self.of.asked) > 4:
            raise rounds.MeasurementError("later")
        spent = self.of.lengths.get(self.loop, seconds)
        return Result(10 / spent, spent)


def test_loops_take_turns_until_each_was_measured_for_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Fakes({"slow": 0.25})
    monkeypatch.setattr(rounds, "working", fakes.working)
    found = rounds.measure(ROWS["sleep(0)"], ["fast", "slow"], 0.4)
    assert [loop for loop, _ in fakes.asked] == ["fast", "slow", "fast", "slow", "fast", "fast"]
    assert {seconds for _, seconds in fakes.asked} == {rounds.SLICE}
    rates = {loop: (result.rate, result.seconds) for loop, result in found.items() if isinstance(result, Result)}
    assert rates == {"fast": pytest.approx((100, 0.4)), "slow": pytest.approx((40, 0.5))}
    assert fakes.ended == ["slow", "fast"]


def test_what_happens_once_is_measured_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Fakes({})
    monkeypatch.setattr(rounds, "working", fakes.working)
    waits = next(row for row in ROWS.values() if row.unit == "waits")
    rounds.measure(waits, ["a", "b"], 0.4)
    assert fakes.asked == [("a", 0.4), ("b", 0.4)]


def test_one_that_fails_is_left_out_of_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Fakes({})
    monkeypatch.setattr(rounds, "working", fakes.working)
    found = rounds.measure(ROWS["sleep(0)"], ["never ready", "fails later", "works"], 0.4)
    assert {loop: str(failed) for loop, failed in found.items() if isinstance(failed, rounds.MeasurementError)} == {
        "never ready": "never",
        "fails later": "later",
    }
    assert isinstance(found["works"], Result)
    assert [loop for loop, _ in fakes.asked] == ["fails later", "works", "fails later", "works", "fails later", "works", "works"]


def test_a_run_goes_on_without_the_one_that_has_failed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fakes = Fakes({})
    monkeypatch.setattr(rounds, "working", fakes.working)
    monkeypatch.setattr(rounds, "not_measured", lambda row, loop: "missing" if loop == "uvloop" else None)
    found = rounds.run([ROWS["sleep(0)"]], ["never ready", "works", "uvloop"], 2, 0.1)
    assert found == {"sleep(0)": {"never ready": "failed", "works": [Result(100, 0.1)] * 2, "uvloop": "missing"}}
    assert capsys.readouterr().err.splitlines() == ["round 1 of 2: sleep(0)", "", "never", "round 2 of 2: sleep(0), 0 min left"]


def test_slices_count_by_their_length() -> None:
    assert joined([Result(10, 1), Result(40, 2)]) == Result(30, 3)
    whole = Result(5, 1, p50=2)
    assert joined([whole]) is whole


def test_work_is_repeated_until_the_time_is_over() -> None:
    counts: list[int] = []

    async def work(count: int) -> None:
        counts.append(count)
        await asyncio.sleep(count / 1000)

    async def main() -> None:
        measure = repeating(work)
        first = await measure(0.1)
        chosen = counts[-1]
        assert counts[: counts.index(chosen)] == [2**power for power in range(chosen.bit_length() - 1)]
        counts.clear()
        second = await measure(0.1)
        assert set(counts) == {chosen}
        # But for the one that warms up.
        assert second.rate * second.seconds == pytest.approx((len(counts) - 1) * chosen)
        assert min(first.seconds, second.seconds) >= 0.1

    asyncio.run(main())


def test_processes_measure() -> None:
    assert_rates(rounds.measure(ROWS["sleep(0)"], ["ours", "ours-driven", "asyncio"], 0.02), ["ours", "ours-driven", "asyncio"])


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the load generator needs a C compiler")
@pytest.mark.parametrize("name", ["echo 1 KiB by protocol, 10 connections", "echo 100 KB by protocol, 10 connections"])
def test_an_echo_server_is_loaded_again_and_again(name: str) -> None:
    assert_rates(rounds.measure(ROWS[name], ["ours", "asyncio", "ceiling"], 0.3), ["ours", "asyncio", "ceiling"])


def assert_rates(found: dict[str, Result | rounds.MeasurementError], loops: list[str]) -> None:
    assert list(found) == loops
    for result in found.values():
        assert isinstance(result, Result), result
        assert result.rate > 0


def test_a_process_that_fails_says_why() -> None:
    found = rounds.measure(ROWS["sleep(0)"], ["no such loop"], 0.02)["no such loop"]
    assert isinstance(found, rounds.MeasurementError)
    assert str(found).startswith("no such loop in 'sleep(0)' failed:\n")
    assert "KeyError: 'no such loop'" in str(found)


def test_a_load_that_cannot_connect_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        with Load("unix:/nowhere", 1, 10) as load:
            with pytest.raises(RuntimeError, match="load generator has failed"):
                await load.measure(0.1)

    asyncio.run(main())
    assert "connect" in capfd.readouterr().err


def test_only_rates_are_cut_into_slices() -> None:
    row = ROWS["sleep(0)"]
    assert row.sliced
    assert not dataclasses.replace(row, unit="waits").sliced
    assert not dataclasses.replace(row, unit="bytes each").sliced
