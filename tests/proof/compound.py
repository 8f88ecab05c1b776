"""Stories of several acts: what a user does between two power cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from packager.chip import FLASH_WORD
from packager.records import AppState
from packager.sim.board import Outcome
from packager.sim.cells import Word
from packager.sim.operations import Cut, Flavour, OpKind
from proof import chains
from proof.chains import Chain
from proof.stories import TINY, Scene, Stage, Story
from proof.sweeps import CUTS, NESTED, SHIPPED, fade
from proof.tally import Tally
from proof.watch import ViolationError, Watched

EARLY = 12
"""Operations a brown-out lets through at most."""


class Acts:
    """One story on one board, played to the end of several acts, many times."""

    def __init__(self, stage: Stage, story: Story, kind: str = "host", seed: int = 0) -> None:
        self.where = f"{story.name} (board {kind}, seed {seed})"
        self.scene: Scene = stage.scene(story, kind, seed)
        self.watched: Watched = self.scene.watched
        product = self.watched.product
        self.other = product.release("other", "5.0.0", 5, product.image(TINY, 55))
        self.begins_with = product.releases[self.watched.newest().digest]
        self.start = self.watched.moment()
        self.watched.board.program({self.watched.layout.staging.start: b"\xff" * FLASH_WORD})
        self.is_whole = self.watched.boot().outcome is Outcome.APP_RUNS
        """Whether an app runs when nothing is staged."""
        self.watched.back_to(self.start)
        self.operations = len(self.watched.boot().operations)
        self.watched.back_to(self.start)
        self.tally = Tally()
        self._kind = kind

    def play(self, what: str, cuts: int, act: Callable[[], None]) -> None:
        """Play one act from the start, and judge."""
        self.watched.back_to(self.start)
        self.tally.count(NESTED if cuts > 1 else CUTS)
        if self._kind != "host":
            self.tally.count(SHIPPED)
        try:
            act()
        except ViolationError as violation:
            self.tally.fail(violation, f"{self.where}, {what}")
        self.watched.planted = False

    # -- cut install -> another drop begins -> cut -> boot ----------------------------------------

    def other_drop(self, first: Chain, second: Cut) -> None:
        """Cut the install, then the drop of another update; then let that one in."""

        def act() -> None:
            self._cut(first)
            self.watched.drop(self.other.update, second)
            self.watched.boot()
            self.watched.drop(self.other.update)
            self.watched.runs(self.watched.boot(), [self.other])

        self.play(f"cut {chains.text_of(first)}, other drop cut {second}", 2, act)

    def header_write(self, cut: Cut) -> None:
        """Cut a drop; the next boot runs what may run, and the drop done again installs."""

        def act() -> None:
            self.watched.drop(self.other.update, cut)
            report = self.watched.boot()
            if self.is_whole:
                may_run = [*self.scene.good, self.begins_with, self.other]
                self.watched.runs(report, may_run)
            self.watched.drop(self.other.update)
            self.watched.runs(self.watched.boot(), [self.other])

        self.play(f"drop cut {cut}", 1, act)

    def drop_operations(self) -> int:
        """Count the operations of an undisturbed drop."""
        count = self.watched.drop(self.other.update)
        self.watched.back_to(self.start)
        return count

    # -- cut -> transient read errors -> boot -----------------------------------------------------

    def transient_errors(self, first: Chain, rng: Random) -> None:
        """Staging cannot be read for one boot; an install that had begun goes on after it."""

        def act() -> None:
            self._cut(first)
            watched, flash = self.watched, self.watched.board.flash
            start = watched.layout.staging.start
            cells, base = flash.cells_of(start), flash.cells_of(start).word_of(start)
            words = base + len(self.scene.staged.update) // FLASH_WORD
            picked = rng.sample(range(base, words), rng.randint(1, 4))
            kept = [(word, cells.data(word), Word(cells.states[word])) for word in picked]
            for word in picked:
                cells.poison(word)
            watched.act()
            watched.boot()
            was_installing = watched.newest().state == AppState.INSTALLING
            for word, data, state in kept:
                if was_installing:
                    cells.set_word(word, data, state)
            watched.act()
            report = watched.boot()
            if was_installing:
                watched.runs(report, [self.scene.staged])
            watched.heals(self.scene.healer)

        self.play(f"cut {chains.text_of(first)}, read errors", 1, act)

    # -- brown-outs -------------------------------------------------------------------------------

    def brown_outs(self, count: int, rng: Random) -> None:
        """Reset ``count`` times in a row, always early; then the install goes through."""

        def act() -> None:
            for _ in range(count):
                cut = Cut(rng.randint(1, EARLY), rng.choice(chains.FLAVOURS))
                report = self.watched.boot(cut)
                self.watched.chain = []
                if report.outcome is not Outcome.POWER_CUT:
                    break
            self.watched.runs(self.watched.boot(), self.scene.good)

        self.play(f"{count} brown-outs", count, act)

    def brown_outs_in_an_erase(self, count: int) -> None:
        """Reset ``count`` times in a row in the first erase of a boot; then the install goes on."""

        def act() -> None:
            watched = self.watched
            for _ in range(count):
                before = watched.moment()
                erases = [op for op in watched.boot().operations if op.kind is OpKind.ERASE]
                watched.back_to(before)
                watched.boot(Cut(erases[0].index, Flavour.TORN))
                watched.act()
            watched.runs(watched.boot(), self.scene.good)

        self.play(f"{count} brown-outs in an erase", count, act)

    # -- a long life ------------------------------------------------------------------------------

    def life(self, acts: int, rng: Random) -> None:
        """Drop good, wrong and old updates at random, cut at random, let torn words fade."""
        releases = [self.scene.staged, self.other, self.scene.healer]

        def act() -> None:
            watched = self.watched
            for _ in range(acts):
                update = bytearray(rng.choice(releases).update)
                if rng.random() < 0.3:
                    update[rng.randrange(len(update))] ^= 1 << rng.randrange(8)
                cut = Cut(rng.randint(1, 200), rng.choice(chains.FLAVOURS))
                watched.drop(bytes(update), cut if rng.random() < 0.4 else None)
                for _ in range(rng.randint(0, 3)):
                    self._cut_and_fade(rng)
                watched.boot()
            watched.heals(self.last)

        product = self.watched.product
        self.last = product.release("last", "200.0.0", 99, product.image(TINY, 77))
        self.play(f"a life of {acts} acts", acts, act)

    def _cut_and_fade(self, rng: Random) -> None:
        cut = Cut(rng.randint(1, rng.choice((EARLY, 60))), rng.choice(chains.FLAVOURS))
        report = self.watched.boot(cut)
        if report.outcome is not Outcome.POWER_CUT or cut.flavour is not Flavour.AFTER:
            return
        if report.operations[-1].kind is OpKind.PROGRAM and rng.random() < 0.5:
            fade(self.watched, report.operations[-1].address, rng.randint(0, 12))

    def _cut(self, chain: Iterable[Cut]) -> None:
        for cut in chain:
            if self.watched.boot(cut).outcome is not Outcome.POWER_CUT:
                break
