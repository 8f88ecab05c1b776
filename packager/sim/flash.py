"""The flash of the virtual chip at the level of whole operations.

Both banks, their option bytes, the operation counter and log, planned power cuts and planted
faults. The register front-end that a program on the core sees is ``flash_registers``; the ROM and
the debugger come in here directly. Strict where the manual leaves a doubt: a word is virgin only
after an erase, even if all ones were programmed into it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from packager.chip import FLASH_WORD, SECTOR_SIZE, Chip, Span
from packager.errors import PackagerError
from packager.sim.cells import Cells, CellsSnapshot, Word
from packager.sim.clock import Clock
from packager.sim.faults import PlantedFaults
from packager.sim.operations import (
    BANK_ERASE_SECTORS,
    Cut,
    FlashOp,
    Flavour,
    OpKind,
    PowerCut,
    Timing,
)
from packager.sim.options import OptionBytes


@dataclass(frozen=True)
class FlashSnapshot:
    """All cells and the option bytes at one moment."""

    banks: tuple[CellsSnapshot, CellsSnapshot]
    options: OptionBytes


class Flash:
    """Cells of both banks plus everything that happens to them."""

    def __init__(
        self, chip: Chip, clock: Clock, *, timing: Timing = Timing.TYPICAL, seed: int = 0
    ) -> None:
        self.chip = chip
        self.clock = clock
        self.timing = timing
        self.seed = seed
        self.banks = (Cells(chip.banks[0]), Cells(chip.banks[1]))
        self.options = OptionBytes()
        self.faults = PlantedFaults()
        self.operations: list[FlashOp] = []
        self.cut: Cut | None = None
        self.on_operation: Callable[[FlashOp], None] | None = None
        self.intrusion = False
        """RDP level 1 met a debugger or another boot source: flash is closed until power-off."""

    # -- looking, without any effect --------------------------------------------------------------

    def cells_of(self, address: int) -> Cells:
        """Return the bank that holds ``address``."""
        number = self.chip.bank_of(address)
        if number is None:
            raise PackagerError(
                f"address 0x{address:08X}",
                "this is not in user flash",
                "expected " + " or ".join(_range(bank.span) for bank in self.banks),
            )
        return self.banks[number - 1]

    def peek(self, address: int, size: int) -> bytes:
        """Return raw content, whatever its health; no read fails and nothing wears out."""
        cells = self.cells_of(address)
        self.cells_of(address + max(size, 1) - 1)
        if size > cells.span.end - address:
            first = cells.span.end - address
            return self.peek(address, first) + self.peek(address + first, size - first)
        at = address - cells.span.start
        return bytes(cells.content[at : at + size])

    def word_state(self, address: int) -> Word:
        """Return the health of the flash word at ``address``."""
        cells = self.cells_of(address)
        return Word(cells.states[cells.word_of(address)])

    def is_protected(self, address: int) -> bool:
        """Tell whether a program or erase there is rejected (WRP or intrusion under RDP 1)."""
        bank = self.chip.bank_of(address)
        if bank is None or self.intrusion:
            return True
        sector = (address - self.banks[bank - 1].span.start) // SECTOR_SIZE
        return self.options.protects(bank, sector)

    # -- planting, for tests and rehearsals -------------------------------------------------------

    def plant(
        self, address: int, state: Word, *, data: bytes | None = None, reads: int = 0
    ) -> None:
        """Put the flash word at ``address`` into ``state``; ``reads`` is for weak words."""
        cells = self.cells_of(address)
        word = cells.word_of(address)
        if state is Word.POISONED:
            cells.poison(word)
        else:
            cells.set_word(word, cells.data(word) if data is None else data, state, reads)

    # -- operations -------------------------------------------------------------------------------

    def program(self, address: int, data: bytes) -> Callable[[], None]:
        """Program the flash word at ``address`` now; returns what tears it if it did not finish."""
        cells = self.cells_of(address)
        word = cells.word_of(address)
        virgin = cells.is_virgin(word)
        sector_start = address - (address - cells.span.start) % SECTOR_SIZE
        if sector_start in self.faults.never_verifies:
            data = bytes((data[0] ^ 0x80,)) + data[1:]
        chance = self._chance(address)

        def tear() -> None:
            if virgin:
                cells.set_word(word, b"\xff" * FLASH_WORD, Word.BLANK)
            cells.tear_program(word, data, Random(chance))

        self._operate(
            FlashOp(
                len(self.operations) + 1,
                OpKind.PROGRAM,
                address,
                FLASH_WORD,
                self.clock.now,
                virgin,
            ),
            lambda: cells.program(word, data),
            tear,
        )
        return tear

    def erase_sector(self, address: int) -> Callable[[], None]:
        """Erase the sector that starts at ``address`` now; returns what tears it."""
        cells = self.cells_of(address)
        sector = (address - cells.span.start) // SECTOR_SIZE
        return self._erase(cells, [sector], OpKind.ERASE)

    def erase_bank(self, bank: int) -> Callable[[], None]:
        """Erase bank 1 or 2 now; returns what tears it."""
        return self._erase(
            self.banks[bank - 1], list(range(self.chip.sectors_per_bank)), OpKind.BANK_ERASE
        )

    def change_options(self, new: OptionBytes) -> None:
        """Program the option bytes; leaving RDP level 1 erases all user flash."""
        regression = self.options.rdp_level == 1 and new.rdp_level == 0

        def change() -> None:
            if regression:
                for cells in self.banks:
                    for sector in range(self.chip.sectors_per_bank):
                        cells.erase(sector)
            self.options = new

        op = FlashOp(len(self.operations) + 1, OpKind.OPTIONS, 0x5200_201C, 0, self.clock.now)
        self._operate(op, change, lambda: None)

    def program_seconds(self, psize: int = 3) -> float:
        """Seconds to program one flash word."""
        return self.timing.program(psize)

    def erase_seconds(self, kind: OpKind = OpKind.ERASE, psize: int = 3) -> float:
        """Seconds to erase a sector or a bank."""
        return self.timing.erase(psize) * (BANK_ERASE_SECTORS if kind is OpKind.BANK_ERASE else 1)

    def _erase(self, cells: Cells, sectors: list[int], kind: OpKind) -> Callable[[], None]:
        address = cells.span.start + sectors[0] * SECTOR_SIZE
        before = cells.snapshot()
        chance = self._chance(address)

        def erase() -> None:
            for sector in sectors:
                cells.erase(sector)

        def tear() -> None:
            cells.restore(before)
            rng = Random(chance)
            for sector in sectors:
                cells.tear_erase(sector, rng)

        size = len(sectors) * SECTOR_SIZE
        op = FlashOp(len(self.operations) + 1, kind, address, size, self.clock.now)
        self._operate(op, erase, tear)
        return tear

    def _operate(self, op: FlashOp, do: Callable[[], object], tear: Callable[[], object]) -> None:
        cut = self.cut if self.cut is not None and self.cut.index == op.index else None
        if cut is not None and cut.flavour is Flavour.BEFORE:
            raise PowerCut(cut)
        self.operations.append(op)
        if cut is not None and cut.flavour is Flavour.TORN:
            tear()
            raise PowerCut(cut)
        do()
        if self.on_operation is not None:
            self.on_operation(op)
        if cut is not None:
            raise PowerCut(cut)

    def _chance(self, address: int) -> str:
        """Return the seed of one operation: the same for the same board seed, count and address."""
        return f"{self.seed} {len(self.operations) + 1} {address:08x}"

    # -- power and copies -------------------------------------------------------------------------

    def power_on(self, cut: Cut | None = None) -> None:
        """Start counting operations anew; the intrusion lock opens."""
        self.operations = []
        self.cut = cut
        self.intrusion = False

    def snapshot(self) -> FlashSnapshot:
        """Return a copy of all that survives without power."""
        return FlashSnapshot((self.banks[0].snapshot(), self.banks[1].snapshot()), self.options)

    def restore(self, snapshot: FlashSnapshot) -> None:
        """Put back what :meth:`snapshot` returned."""
        for cells, copy in zip(self.banks, snapshot.banks, strict=True):
            cells.restore(copy)
        self.options = snapshot.options


def _range(span: Span) -> str:
    return f"0x{span.start:08X}..0x{span.end - 1:08X}"
