"""A board under watch: after every boot it is asked whether anything happened that never may.

Never: an app that is not whole or not authentic or below the floor; a floor that sank; a boot that
does not end; a flash word programmed twice; an operation where the loader has no business; the
staged update destroyed while the app area is in pieces.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from packager import toolchain
from packager.chip import FLASH_WORD
from packager.format import pad_to_flash_word
from packager.records import AppState
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.cells import Word
from packager.sim.flash import FlashSnapshot
from packager.sim.operations import Cut, OpKind, PowerCut
from proof import chains, notes
from proof.product import Product, Release

_HEAD = 1024
"""The last block a drop writes: the one with the header."""
_MOST_KEPT = 20
_SOUND = bytes((Word.BLANK, Word.PROGRAMMED))


class Harm(StrEnum):
    """What a violation is counted as."""

    BRICKED = "bricked"
    ACCEPTED = "accepted"
    HANG = "hang"


class ViolationError(AssertionError):
    """Something happened that never may; names the chain of cuts that shows it."""

    def __init__(self, harm: Harm, what: str, chain: str) -> None:
        super().__init__(harm, what, chain)  # these come back from a worker process
        self.harm = harm
        self.what = what
        self.chain = chain

    def __str__(self) -> str:
        return f"{self.harm}: {self.what}; cuts {self.chain}"


class Moment(NamedTuple):
    """Everything to come back to."""

    flash: FlashSnapshot
    floor: tuple[int, int]


class Watched:
    """A board of a product; acts like its user, and judges."""

    def __init__(self, product: Product, board: Board) -> None:
        self.product = product
        self.layout = product.layout
        self.board = board
        self.planted = False
        """Sick words were planted, so the app may hold some, too."""
        self.floor = notes.newest(board, self.layout).floor
        self.chain: list[Cut] = []
        self._begin = self.moment()

    # -- acts -------------------------------------------------------------------------------------

    def boot(self, cut: Cut | None = None) -> BootReport:
        """Power on, perhaps cut, and judge what came of it."""
        if cut is not None:
            self.chain.append(cut)
        report = self.board.boot(cut=cut, strict=False)
        self._judge(report, cut)
        return report

    def stage(self, update: bytes) -> None:
        """Put an update into staging at one stroke."""
        self.board.program({self.layout.staging.start: update})
        self.act()

    def drop(self, update: bytes, cut: Cut | None = None) -> int:
        """Write an update in the order a drop does, perhaps cut; return the operations it took."""
        flash, start = self.board.flash, self.layout.staging.start
        data = pad_to_flash_word(update)
        flash.power_on(cut)
        flash.on_operation = None
        try:
            for sector in range(start, start + len(data), 128 * 1024):
                flash.erase_sector(sector)
            for at in (*range(_HEAD, len(data), FLASH_WORD), *range(0, _HEAD, FLASH_WORD)):
                if data[at : at + FLASH_WORD] != b"\xff" * FLASH_WORD:
                    flash.program(start + at, data[at : at + FLASH_WORD])
        except PowerCut:
            pass
        self.act()
        return len(flash.operations)

    def act(self) -> None:
        """Something other than a boot happened: ids of cuts count from here."""
        self.chain = []
        self._begin = self.moment()

    def moment(self) -> Moment:
        """Return what :meth:`back_to` takes."""
        return Moment(self.board.snapshot(), self.floor)

    def back_to(self, moment: Moment) -> None:
        """Restore a moment."""
        self.board.restore(moment.flash)
        self.floor = moment.floor
        self.chain = []
        self._begin = moment

    # -- questions --------------------------------------------------------------------------------

    def newest(self) -> notes.Note:
        """Return the newest record."""
        return notes.newest(self.board, self.layout)

    def lasting(self) -> notes.Note:
        """Return the newest record without a word that will fade."""
        return notes.newest(self.board, self.layout, lasting=True)

    def runs(self, report: BootReport, expected: Collection[Release]) -> None:
        """Demand that the boot ended in one of these releases."""
        self._demand(
            report.outcome is Outcome.APP_RUNS,
            Harm.BRICKED,
            f"no app runs but {report.outcome}, reason {self.newest().reason}",
        )
        running = self.product.releases[self.newest().digest]
        names = "/".join(release.name for release in expected)
        self._demand(
            running.digest in {release.digest for release in expected},
            Harm.BRICKED,
            f"{running.name} runs instead of {names}",
        )

    def heals(self, healer: Release) -> None:
        """Demand that dropping a good update repairs whatever there is."""
        self.stage(healer.update)
        self.runs(self.boot(), [healer])

    def save(self, path: Path, tool: str) -> None:
        """Keep the board as it was before the first cut of the chain, with a shipped loader."""
        board = Board.new(self.layout.chip, seed=self.board.flash.seed)
        board.restore(self._begin.flash)
        board.program(self.product.loader(tool))
        board.save(path)

    # -- judging ----------------------------------------------------------------------------------

    def _judge(self, report: BootReport, cut: Cut | None) -> None:
        """Judge a boot; one that is not cut has to have seen to it that its records last."""
        note = self.newest()
        words_fade = any(cells.weak for cells in self.board.flash.banks)
        lasting = self.lasting() if words_fade else note
        self._demand(
            note.floor >= self.floor, Harm.ACCEPTED, f"floor sank: {self.floor} to {note.floor}"
        )
        is_cut = report.outcome is Outcome.POWER_CUT
        self.floor = max(self.floor, lasting.floor if is_cut else note.floor)
        self._judge_operations(report, lasting)
        if is_cut:
            self._demand(cut is not None, Harm.HANG, "a power cut nobody planned")
        elif report.outcome is Outcome.APP_RUNS:
            self._judge_app(note)
        else:
            self._demand(
                report.outcome is Outcome.STAYS_IN_ROM, Harm.HANG, f"ends in {report.outcome}"
            )

    def _judge_operations(self, report: BootReport, lasting: notes.Note) -> None:
        layout = self.layout
        for op in report.operations:
            self._demand(op.virgin, Harm.BRICKED, f"programs 0x{op.address:08X} twice")
            if op.address == layout.staging.start and op.kind is OpKind.ERASE:
                self._demand(
                    lasting.state != AppState.INSTALLING,
                    Harm.BRICKED,
                    "erases the staged header while the app is in pieces",
                )
            else:
                ours = layout.app.contains(op.address) or layout.marks.contains(op.address)
                self._demand(ours, Harm.BRICKED, f"{op.kind} at 0x{op.address:08X}")

    def _judge_app(self, note: notes.Note) -> None:
        release = self.product.releases.get(note.digest)
        if release is None or note.state != AppState.INSTALLED:
            raise self._violation(Harm.ACCEPTED, "an app runs that no record names as installed")
        flash, start, size = self.board.flash, self.layout.app.start, len(release.image)
        self._demand(
            flash.peek(start, size) == release.image, Harm.ACCEPTED, f"{release.name} is not whole"
        )
        self._demand(
            (release.counter, release.version) >= self.floor,
            Harm.ACCEPTED,
            f"{release.name} runs below the floor {self.floor}",
        )
        cells = flash.cells_of(start)
        first = cells.word_of(start)
        states = cells.states[first : first + -(-size // FLASH_WORD)]
        if not self.planted:
            self._demand(not states.strip(_SOUND), Harm.ACCEPTED, "the app holds a sick word")

    def _demand(self, holds: bool, harm: Harm, what: str) -> None:
        if not holds:
            raise self._violation(harm, what)

    def _violation(self, harm: Harm, what: str) -> ViolationError:
        chain = chains.text_of(tuple(self.chain))
        folder, tools = self.product.failures, toolchain.installed()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        if folder is not None and tools and len(list(folder.iterdir())) < _MOST_KEPT:
            path = folder / f"{time.time_ns():x}.board"
            self.save(path, tools[0])
            what += f" (splitflash sim replay {path} {chain})"
        return ViolationError(harm, what, chain)
