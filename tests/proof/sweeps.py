"""Runs a story once for every chain of cuts, and judges each.

All of a chain's boots are cut, then one is not: that one has to end in a good release; so has the
next one, without any flash operation, and now and then a newer update must install after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from packager.sim.board import Outcome
from packager.sim.cells import Word
from packager.sim.operations import Cut, OpKind
from proof import chains
from proof.chains import Chain
from proof.stories import Scene, Stage, Story
from proof.tally import Tally
from proof.watch import Moment, ViolationError, Watched

CUTS, NESTED, SHIPPED = "cuts", "nested", "shipped"
HEAL_EVERY = 16
FADES = (0, 1, 2, 3, 5, 8, 13)
"""How often a weak word is still read right, in the sweep that makes every torn word one."""

LONG_LIVED = 40


class Sweep:
    """One story on one board, tried with many chains."""

    def __init__(self, stage: Stage, story: Story, kind: str, seed: int) -> None:
        self.where = f"{story.name} (board {kind}, seed {seed})"
        self.scene: Scene = stage.scene(story, kind, seed)
        self.watched: Watched = self.scene.watched
        self.start: Moment = self.watched.moment()
        self.tally = Tally()
        self.tried = 0
        self._kind = kind

    def operations(self) -> int:
        """Count the flash operations of an undisturbed boot; leaves the board as it was."""
        before = self.watched.moment()
        report = self.watched.boot()
        self.watched.back_to(before)
        return len(report.operations)

    def run(self, tried: Iterable[Chain]) -> Tally:
        """Try these chains."""
        for chain in tried:
            self.watched.back_to(self.start)
            self._guarded(chain, lambda chain=chain: self._cuts(chain))
        return self.tally

    def run_nested(self, first: Iterable[Chain], share: int = 1) -> Tally:
        """Try every second cut, or every ``share``-th, behind each of the first ones."""
        at = 0
        for chain in first:
            self.watched.back_to(self.start)
            try:
                self._cuts(chain)
            except ViolationError as violation:
                self.tally.fail(violation, self.where)
                continue
            middle, cuts_so_far = self.watched.moment(), list(self.watched.chain)
            begin = self.watched._begin
            for (second,) in chains.single("exhaustive", self.operations()):
                at += 1
                if at % share == 0:
                    self.watched.back_to(middle)
                    self.watched.chain, self.watched._begin = list(cuts_so_far), begin
                    self._guarded((*chain, second), lambda cut=second: self._cuts((cut,)))
        return self.tally

    def run_fading(self, indices: Iterable[int]) -> Tally:
        """Let the word under every program operation come out right, and fail some reads later."""
        for index in indices:
            for reads in FADES:
                self.watched.back_to(self.start)
                if not self._cut_and_fade(index, reads):
                    break
                self._guarded((Cut(index, "after"),), lambda: None, f"faded after {reads} reads")
        return self.tally

    def run_fading_twice(self, indices: Iterable[int]) -> Tally:
        """Let a word fade in the middle of the next boot, which is cut over another weak word."""
        for index in indices:
            for reads in FADES:
                self.watched.back_to(self.start)
                if not self._cut_and_fade(index, reads):
                    break
                middle, count = self.watched.moment(), self.operations()
                for second in range(1, count + 1):
                    self.watched.back_to(middle)
                    if self._cut_and_fade(second, LONG_LIVED):
                        chain = (Cut(index, "after"), Cut(second, "after"))
                        self._guarded(chain, lambda: None, f"first faded after {reads} reads")
        return self.tally

    def _cut_and_fade(self, index: int, reads: int) -> bool:
        """Cut behind an operation and make its word weak; False if it was not a program.

        A record is written only when its last word lasts: until then the floor is what the
        records without that word say.
        """
        before = self.watched.floor
        report = self.watched.boot(Cut(index, "after"))
        is_cut = report.outcome is Outcome.POWER_CUT
        if not is_cut or report.operations[-1].kind is not OpKind.PROGRAM:
            return False
        fade(self.watched, report.operations[-1].address, reads)
        self.watched.floor = max(before, self.watched.lasting().floor)
        return True

    def _cuts(self, chain: Chain) -> None:
        for cut in chain:
            if self.watched.boot(cut).outcome is not Outcome.POWER_CUT:
                break

    def _guarded(self, chain: Chain, cuts: object, note: str = "") -> None:
        assert callable(cuts)
        self.tried += 1
        self.tally.count(NESTED if len(chain) > 1 else CUTS)
        if self._kind != "host":
            self.tally.count(SHIPPED)
        try:
            cuts()
            self._finish()
        except ViolationError as violation:
            self.tally.fail(violation, f"{self.where} {note}".strip())

    def _finish(self) -> None:
        watched, good = self.watched, self.scene.good
        watched.runs(watched.boot(), good)
        settled = watched.boot()
        watched.runs(settled, good)
        if settled.operations:
            third = watched.boot()
            watched.runs(third, good)
        if self.tried % HEAL_EVERY == 0:
            watched.heals(self.scene.healer)


def fade(watched: Watched, address: int, reads: int) -> None:
    """Make the flash word at ``address`` one that reads right ``reads`` more times."""
    watched.board.flash.plant(address, Word.WEAK, reads=reads)


def random_chains(rng: Random, count: int, cuts: int, operations: int) -> Iterator[Chain]:
    """Yield ``count`` random chains."""
    for _ in range(count):
        yield chains.random_chain(rng, cuts, operations)
