"""Flash that fails: error flags, sectors that never verify, words sick before the loader starts.

Whatever is planted, a boot ends; no app runs that is not whole; and once the fault is gone, or at
once where there is another way, a good update installs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.format import CARRY_SIZE, HEADER_SIZE
from packager.records import AppState, RecordType
from packager.sim.board import Outcome
from packager.sim.cells import Word
from packager.sim.faults import PlantedFaults
from packager.sim.flash import Flash
from packager.sim.operations import Cut, OpKind
from proof import chains, notes
from proof.stories import Scene, Stage, Story
from proof.tally import Tally
from proof.watch import Harm, ViolationError, Watched

FAULTS = "faults"
FOR_EVER = 1_000_000
TIMES = (1, 2, 3, 4, 9, FOR_EVER)
"""How often an operation fails; the loader gives up after three attempts."""
PASSES = 6
"""Three attempts at a sector, and the whole image twice."""
READS = (0, 1, 2, 3, 5, 8, 13, 21)
BURSTS = range(2, 13)
"""Operations in a row that fail: more than any that are left blank in marks."""


@dataclass(frozen=True)
class Fault:
    """Something wrong with the flash.

    Faults that are ``is_brief`` must not keep the update out. One that ``passes`` with the boot
    leaves nothing bad behind: what ran then runs again, and nothing was forgotten.
    """

    name: str
    plant: Callable[[Flash], None]
    is_brief: bool = False
    passes: bool = False


def operation_faults(watched: Watched) -> list[Fault]:
    """Return failing operations at every place the coming boot changes."""
    before = watched.moment()
    operations = watched.boot().operations
    watched.back_to(before)
    made: list[Fault] = []
    places = sorted({(op.kind is OpKind.PROGRAM, op.address) for op in operations})
    for is_program, address in places:
        for times in TIMES:
            what = "program" if is_program else "erase"

            def plant(
                flash: Flash, where: int = address, times: int = times, program: bool = is_program
            ) -> None:
                faults = flash.faults
                (faults.program_errors if program else faults.erase_errors)[where] = times

            made.append(Fault(f"{what} at {address:08x} fails {times} times", plant, times < 3))
    for sector in sorted({op.address - op.address % SECTOR_SIZE for op in operations}):
        made.append(
            Fault(
                f"sector {sector:08x} never verifies",
                lambda flash, where=sector: flash.faults.never_verifies.add(where),  # type: ignore[misc]
            )
        )
    return made


def bursts(watched: Watched) -> Iterator[Fault]:
    """Yield every run of operations that fail in the coming boot, of every length."""
    before = watched.moment()
    operations = len(watched.boot().operations)
    watched.back_to(before)
    for length in BURSTS:
        for first in range(1, operations + 1):
            burst = range(first, first + length)

            def plant(flash: Flash, burst: range = burst) -> None:
                flash.faults.burst = burst

            name = f"operations {first} to {burst[-1]} fail"
            yield Fault(name, plant, passes=True)


def sick_words(scene: Scene, rng: Random) -> Iterator[Fault]:
    """Yield words that are poisoned, weak, or read corrected, wherever the loader looks."""
    layout, update = scene.watched.layout, scene.staged.update
    used = _used_marks(scene.watched)
    places = {
        "header": range(layout.staging.start, layout.staging.start + HEADER_SIZE, FLASH_WORD),
        "payload": _some(rng, layout.staging.start + HEADER_SIZE, len(update) - HEADER_SIZE),
        "app": _some(rng, layout.app.start, 1024),
        "behind the app": _some(rng, layout.app.start + 64 * 1024, 32 * 1024),
        "newest record": range(layout.marks.start + used - 128, layout.marks.start + used, 32),
        "next records": range(layout.marks.start + used, layout.marks.start + used + 768, 32),
        "all of marks": _some(rng, layout.marks.start, SECTOR_SIZE),
        "carry": range(layout.app.end - CARRY_SIZE, layout.app.end, FLASH_WORD),
    }
    for place, addresses in places.items():
        for address in addresses:
            name = f"{place} {address:08x}"
            for state in (Word.POISONED, Word.CORRECTED):
                yield _sick(f"{name} {state.name.lower()}", address, state, 0)
            for reads in READS:
                yield _sick(f"{name} weak after {reads}", address, Word.WEAK, reads)


def _sick(name: str, address: int, state: Word, reads: int) -> Fault:
    def plant(flash: Flash) -> None:
        planted = state
        if state is Word.WEAK and flash.word_state(address) is Word.BLANK:
            planted = Word.WEAK_BLANK
        flash.plant(address, planted, reads=reads)

    return Fault(name, plant)


def _some(rng: Random, start: int, size: int) -> list[int]:
    return sorted(start + FLASH_WORD * rng.randrange(size // FLASH_WORD) for _ in range(6))


def _used_marks(watched: Watched) -> int:
    marks = watched.board.flash.peek(watched.layout.marks.start, watched.layout.marks.size)
    return -(-len(marks.rstrip(b"\xff")) // 128) * 128


class Ordeal:
    """One story on one board, with one fault after the other."""

    def __init__(self, stage: Stage, story: Story, kind: str = "host", seed: int = 0) -> None:
        self.where = f"{story.name} (board {kind}, seed {seed})"
        self.scene: Scene = stage.scene(story, kind, seed)
        self.watched: Watched = self.scene.watched
        self.start = self.watched.moment()
        self.usual = len(self.watched.boot().operations)
        self.watched.back_to(self.start)
        words = len(self.scene.staged.image) // FLASH_WORD
        self.most_operations = PASSES * (words + 64) + 256
        self.tally = Tally()

    def run(self, faults: Iterator[Fault] | list[Fault], rng: Random | None = None) -> Tally:
        """Try each fault; with ``rng`` also cut the power of the first boot at random."""
        for fault in faults:
            self.watched.back_to(self.start)
            flash = self.watched.board.flash
            flash.faults = PlantedFaults()
            fault.plant(flash)
            cut = None
            if rng is not None:
                cut = Cut(rng.randint(1, max(self.usual, 1)), rng.choice(chains.FLAVOURS))
            self.tally.count(FAULTS)
            self.watched.planted = True
            try:
                self._suffer(fault, cut)
            except ViolationError as violation:
                self.tally.fail(violation, f"{self.where}, {fault.name}")
            finally:
                flash.faults = PlantedFaults()
                self.watched.planted = False
        return self.tally

    def _suffer(self, fault: Fault, cut: Cut | None) -> None:
        watched, flash = self.watched, self.watched.board.flash
        # what the fault destroyed is not the loader's to know
        watched.floor = notes.newest(watched.board, watched.layout).floor
        if cut is not None:
            watched.boot(cut)
        report = watched.boot()
        self._demand(
            len(report.operations) <= self.most_operations,
            Harm.HANG,
            f"{len(report.operations)} operations in one boot",
        )
        if fault.is_brief and cut is None:
            watched.runs(report, self.scene.good)
        if fault.passes and report.outcome is Outcome.APP_RUNS:
            flash.faults = PlantedFaults()
            runs = watched.boot().outcome is Outcome.APP_RUNS
            self._demand(runs, Harm.BRICKED, "what was started does not start again")
        elif report.outcome is not Outcome.APP_RUNS:
            self._says_why(fault)
        again = watched.boot()
        if again.outcome is Outcome.APP_RUNS:
            watched.boot()
        flash.faults = PlantedFaults()
        watched.heals(self.scene.healer)

    def _says_why(self, fault: Fault) -> None:
        """A device that stays because an install failed can be asked for the reason."""
        note = self.watched.newest()
        header = self.watched.board.flash.word_state(self.watched.layout.staging.start)
        if header is Word.POISONED:
            return  # nothing is staged, as far as anyone can tell
        marks_can_be_written = "marks" not in fault.name and "record" not in fault.name
        if note.state != AppState.INSTALLING or not marks_can_be_written or fault.passes:
            return
        if fault.name.startswith(("program", "sector")) and self._is_in_marks(fault):
            return
        said = note.kind == RecordType.REFUSED and note.reason != 0
        self._demand(said, Harm.BRICKED, "stays without a readable reason")

    def _is_in_marks(self, fault: Fault) -> bool:
        address = next(int(part, 16) for part in fault.name.split() if len(part) == 8)
        return self.watched.layout.marks.contains(address)

    def _demand(self, holds: bool, harm: Harm, what: str) -> None:
        if not holds:
            raise ViolationError(harm, what, "none")
