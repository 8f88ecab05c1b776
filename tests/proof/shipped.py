"""Samples the sweeps on the shipped binaries, side by side with the host build.

Both get the same cuts; both are judged; after every boot operations and all flash must agree.
"""

from __future__ import annotations

from collections.abc import Iterable

from packager.sim.board import Board, BootReport, Outcome
from packager.sim.operations import Cut
from proof import chains
from proof.chains import Chain
from proof.product import HOST
from proof.stories import Scene, Stage, Story
from proof.sweeps import CUTS, NESTED, SHIPPED
from proof.tally import Tally
from proof.watch import Harm, ViolationError

State = list[tuple[bytes, bytes, dict[int, int]]]


def log(report: BootReport) -> list[tuple[str, int, bool]]:
    """Return the operations of a boot."""
    return [(str(op.kind), op.address, op.virgin) for op in report.operations]


def content(board: Board, skip: int) -> State:
    """Return all flash but the first ``skip`` bytes, with the health of its words.

    The garbage in poisoned words is drawn at each read, so it tells whether the reads agree.
    """
    cells, more = board.flash.banks
    first = bytes(cells.content[skip:]), bytes(cells.states[skip // 32 :]), dict(cells.weak)
    return [first, (bytes(more.content), bytes(more.states), dict(more.weak))]


class SideBySide:
    """One story on a shipped binary and on the host build."""

    def __init__(self, stage: Stage, story: Story, tool: str, seed: int = 0) -> None:
        self.where = f"{story.name} (board {tool}, seed {seed})"
        self.scenes: tuple[Scene, Scene] = (
            stage.scene(story, tool, seed),
            stage.scene(story, HOST, seed),
        )
        self.starts = [scene.watched.moment() for scene in self.scenes]
        self.skip = self.scenes[0].watched.layout.loader.size
        host = self.scenes[1].watched
        self.operations = len(host.boot().operations)
        host.back_to(self.starts[1])
        self.tally = Tally()

    def run(self, tried: Iterable[Chain]) -> Tally:
        """Try these chains on both."""
        for chain in tried:
            for scene, start in zip(self.scenes, self.starts, strict=True):
                scene.watched.back_to(start)
            self.tally.count(NESTED if len(chain) > 1 else CUTS)
            self.tally.count(SHIPPED, max(1, len(chain)))
            try:
                self._play(chain)
            except ViolationError as violation:
                self.tally.fail(violation, self.where)
        return self.tally

    def _play(self, chain: Chain) -> None:
        for cut in chain:
            if self.boot(cut, chain).outcome is not Outcome.POWER_CUT:
                break
        good = self.scenes[0].good
        self.scenes[0].watched.runs(self.boot(None, chain), good)
        self.scenes[0].watched.runs(self.boot(None, chain), good)

    def boot(self, cut: Cut | None, chain: Chain) -> BootReport:
        """Boot both, and compare."""
        chip, host = (scene.watched for scene in self.scenes)
        on_chip, on_host = chip.boot(cut), host.boot(cut)
        same = (
            on_chip.outcome is on_host.outcome
            and log(on_chip) == log(on_host)
            and content(chip.board, self.skip) == content(host.board, self.skip)
        )
        if not same:
            what = f"host build and binary differ: {on_host.outcome}, {on_chip.outcome}"
            raise ViolationError(Harm.BRICKED, what, chains.text_of(chain))
        return on_chip
