"""Wrong updates: the loader gives the reason the packager gives, before it changes anything.

Rows of the refusal table, and random changes to header and payload, signed again or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from refusals import CASES, FIELDS, sign_again

from packager.chip import FLASH_WORD
from packager.format import HEADER_SIZE, RECORD_SIZE, SIGNED_SIZE
from packager.keys import load_device_keys, load_recipients, load_signing_key, load_verify_keys
from packager.reasons import Reason
from packager.records import RecordType
from packager.sim.board import BootReport, Outcome
from packager.sim.operations import FlashOp, OpKind
from packager.update import Floor, Refusal, Secrets, UpdatePlan, open_update, seal_update
from proof import notes
from proof.product import HOST, ONE
from proof.stories import SMALL, Stage, cast_of_size
from proof.tally import Tally
from proof.watch import Harm, ViolationError

REFUSALS = "refusals"
CHUNK = 1024
_EDGES = (0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
NOTE_WORDS = 2 * RECORD_SIZE // FLASH_WORD
"""Written twice."""


class Wrong(NamedTuple):
    """An update that may be wrong."""

    name: str
    update: bytes


class Judge:
    """A board with the factory's app, and the packager's own reader beside it."""

    def __init__(self, stage: Stage, kind: str = HOST) -> None:
        self.product = stage.products[ONE]
        self.layout = self.product.layout
        keys = self.product.keys
        self.verify, self.device = load_verify_keys(keys), load_device_keys(keys)
        self.signing = load_signing_key(keys, None)
        self.made_with = cast_of_size(self.product, SMALL, SMALL).made_with
        self.image = self.product.image(3 * CHUNK + 100, 4)
        plan = UpdatePlan(
            self.layout,
            self.signing,
            tuple(load_recipients(keys))[:1],
            0x0200_0000,
            2,
            chunk_size=CHUNK,
        )
        self.good = seal_update(self.image, plan, Secrets.draw())
        self.board = self.product.board(self.made_with, kind)
        self.start = self.board.snapshot()
        self.sequence = notes.newest(self.board, self.layout).sequence
        self.where = f"refusals (board {kind})"
        self.tally = Tally()

    def table(self) -> Iterator[Wrong]:
        """Yield every row of the refusal table."""
        for case in CASES:
            yield Wrong(case.name, case.make(self.good, self.signing))

    def random(self, rng: Random, count: int) -> Iterator[Wrong]:
        """Yield random changes."""
        fields = [*FIELDS.items()]
        ends = [*FIELDS.values(), HEADER_SIZE][1:]
        for number in range(count):
            wrong = bytearray(self.good)
            for _ in range(rng.choice((1, 1, 1, 2))):
                which = rng.randrange(len(fields))
                _change(wrong, rng, fields[which][1], ends[which])
            if rng.random() < 0.2:
                at = rng.randrange(HEADER_SIZE, len(wrong))
                wrong[at] ^= 1 << rng.randrange(8)
            update = bytes(wrong)
            if rng.random() < 0.7:
                update = sign_again(update, self.signing)
            yield Wrong(f"random change {number}", update)

    def run(self, rows: Iterable[Wrong]) -> Tally:
        """Compare the verdicts on each row."""
        for row in rows:
            self.tally.count(REFUSALS)
            try:
                self._compare(row.update)
            except ViolationError as violation:
                self.tally.fail(violation, f"{self.where}, {row.name}")
        return self.tally

    def _compare(self, update: bytes) -> None:
        expected = self._expected(update)
        self.board.restore(self.start)
        self.board.program({self.layout.staging.start: update})
        report = self.board.boot(strict=False)
        note = notes.newest(self.board, self.layout)
        _demand(report.outcome is Outcome.APP_RUNS, Harm.BRICKED, f"{report.outcome}")
        if expected is None:
            installed = note.kind == RecordType.INSTALLED and note.sequence > self.sequence
            _demand(installed, Harm.BRICKED, f"a good update is refused, reason {note.reason}")
            return
        found = Reason(note.reason) if note.kind == RecordType.REFUSED else Reason.NONE
        is_installed = note.kind != RecordType.REFUSED and note.sequence > self.sequence
        _demand(not is_installed, Harm.ACCEPTED, "installed")
        _demand(found is expected, Harm.ACCEPTED, f"{found.name} instead of {expected.name}")
        self._says_so_only(report, expected)

    def _expected(self, update: bytes) -> Reason | None:
        floor = Floor(self.made_with.counter, self.made_with.version)
        try:
            open_update(update, self.verify, self.device, self.layout, floor=floor)
        except Refusal as refusal:
            return refusal.reason
        return None

    def _says_so_only(self, report: BootReport, expected: Reason) -> None:
        """The note, then the header's sector erased; nothing staged: nothing at all."""
        operations = report.operations
        if expected is Reason.NONE:
            _demand(not operations, Harm.ACCEPTED, "changes flash though nothing is staged")
            return
        noted, cleared = operations[:NOTE_WORDS], operations[NOTE_WORDS:]
        right = all(self._is_note(op) for op in noted) and [
            (op.kind, op.address) for op in cleared
        ] == [(OpKind.ERASE, self.layout.staging.start)]
        _demand(right, Harm.ACCEPTED, "changes flash otherwise than by note and clearing")

    def _is_note(self, op: FlashOp) -> bool:
        return op.kind is OpKind.PROGRAM and self.layout.marks.contains(op.address)


def _change(data: bytearray, rng: Random, start: int, end: int) -> None:
    if end - start == 4 and rng.random() < 0.6:
        old = int.from_bytes(data[start:end], "little")
        value = rng.choice((rng.choice(_EDGES), old + rng.randint(-2, 2), old ^ 1 << 31))
        data[start:end] = (value % (1 << 32)).to_bytes(4, "little")
    elif rng.random() < 0.2:
        data[start:end] = bytes(end - start)
    else:
        data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)


def _demand(holds: bool, harm: Harm, what: str) -> None:
    if not holds:
        raise ViolationError(harm, what, "none")


assert FIELDS["signature"] == SIGNED_SIZE
