"""One situation on a bench: every glitch is run and judged, also by what the next power-on does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from random import Random
from typing import NamedTuple

from packager.errors import SimulationFault
from packager.format import CARRY_SIZE, HEADER_SIZE
from packager.sim.board import Board, Outcome
from packager.sim.operations import OpKind
from packager.sim.outcome import Stop
from proof import notes
from proof.code import Code
from proof.glitches import Bench, Glitch, Run
from proof.shortcuts import shorten
from proof.situations import Situation


class Harm(StrEnum):
    """What a disturbance can do; the worst comes first."""

    ACCEPTED = "accepted"
    """The app area changed, or an app runs that must not."""
    FLOOR = "floor"
    """The marks say something else for good: floor, what is installed, how far an install is."""
    BRICKED = "bricked"
    """After the next power-on the board does not do what it did before."""
    ASTRAY = "astray"
    """Something outside the marks and the header's sector was erased or programmed."""


class Outcomes(NamedTuple):
    """What a glitch did, and whether only the next power-on ended it."""

    harm: Harm | None
    stuck: bool


class Trial:
    """Runs glitches of one situation."""

    def __init__(self, situation: Situation, code: Code, *, short: bool = True) -> None:
        self.situation = situation
        self.code = code
        self._kept = self._kept_by(situation.board)
        self._after_power_on: dict[tuple[object, ...], Harm | None] = {}
        self.bench = Bench(situation.board, code)
        if short:
            shorten(self.bench)
        self.due = self.bench.trace()

    def points(
        self, cap: int, chance: Random, chosen: Callable[[int], bool] = lambda address: True
    ) -> Iterator[Glitch]:
        """Yield the instructions that were due at ``chosen`` addresses, ``cap`` times at most."""
        for address, count in sorted(self.due.items()):
            if chosen(address):
                for nth in some(count, cap, chance):
                    yield Glitch(address, nth)

    def run(self, glitch: Glitch) -> Outcomes:
        """Run a glitch and judge it."""
        run = self.bench.run(glitch)
        stuck = run.stop is Stop.TIME_UP and not run.app_runs and not run.faulted
        return Outcomes(self._judge(run), stuck)

    def _judge(self, run: Run) -> Harm | None:
        layout = self.situation.layout
        if run.app_runs and not self.situation.app_may_run:
            return Harm.ACCEPTED
        astray = False
        for op in run.operations:
            if layout.app.start <= op.address < layout.app.end - CARRY_SIZE:
                return Harm.ACCEPTED
            header = op.kind is OpKind.ERASE and op.address == layout.staging.start
            astray |= not header and not layout.marks.contains(op.address)
        return self._judge_flash(run) or (Harm.ASTRAY if astray else None)

    def _judge_flash(self, run: Run) -> Harm | None:
        """Judge what the run left, and what a power-on makes of it; ask the same only once."""
        board, layout = self.situation.board, self.situation.layout
        areas = (
            (layout.marks.start, layout.marks.size),
            (layout.app.end - CARRY_SIZE, CARRY_SIZE),
            (layout.staging.start, HEADER_SIZE),
        )
        key = (
            *((op.kind, op.address, op.virgin) for op in run.operations),
            *(board.read(start, size).rstrip(b"\xff") for start, size in areas),
        )
        if key not in self._after_power_on:
            self._after_power_on[key] = self._power_on()
        return self._after_power_on[key]

    def _power_on(self) -> Harm | None:
        left, layout = self.situation.board, self.situation.layout
        board = Board.new(layout.chip)
        board.restore(left.snapshot())
        try:
            outcome = board.boot(strict=False).outcome
        except SimulationFault:
            return Harm.BRICKED
        if not self._kept_by(left) == self._kept_by(board) == self._kept:
            return Harm.FLOOR
        wanted = Outcome.APP_RUNS if self.situation.app_may_run else Outcome.STAYS_IN_ROM
        return None if outcome is wanted else Harm.BRICKED

    def _kept_by(self, board: Board) -> bytes:
        return notes.newest(board, self.situation.layout).kept


def some(count: int, cap: int, chance: Random) -> list[int]:
    """Return up to ``cap`` of the numbers from 1 to ``count``: all, or ends and a sample."""
    if count <= cap:
        return list(range(1, count + 1))
    ends = [*range(1, cap // 3 + 2), *range(count - cap // 3 + 1, count + 1)]
    rest = cap - len(ends)
    inner = range(cap // 3 + 2, count - cap // 3 + 1)
    return sorted(ends + chance.sample(inner, rest)) if rest > 0 else ends[:cap]
