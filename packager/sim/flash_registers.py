"""The flash interface as a program on the core sees it: registers and stores (RM0433 4.3, 4.9).

Two banks with their own key, control and status registers, a 32-byte write buffer each, a queue of
one running and one waiting operation, and the shared option registers. Time passes when a program
reads a status register of a busy bank, or when a full queue stalls its store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntFlag

from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.errors import SimulationFault
from packager.sim.cells import Word
from packager.sim.flash import Flash
from packager.sim.operations import BusError, OpKind
from packager.sim.options import OPTCHANGEERR, OptionBytes

BASE = 0x5200_2000
ACR, KEYR, OPTKEYR, CR, SR, CCR, OPTCR = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
OPTSR_CUR, OPTSR_PRG, OPTCCR = 0x1C, 0x20, 0x24
PRAR_CUR, PRAR_PRG, SCAR_CUR, SCAR_PRG = 0x28, 0x2C, 0x30, 0x34
WPSN_CUR, WPSN_PRG, BOOT_CUR, BOOT_PRG, ECC_FA = 0x38, 0x3C, 0x40, 0x44, 0x60

KEYS = (0x4567_0123, 0xCDEF_89AB)
OPTION_KEYS = (0x0819_2A3B, 0x4C5D_6E7F)

LOCK, PG, SER, BER, PSIZE, FW, START = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 3 << 4, 1 << 6, 1 << 7
OPTLOCK, OPTSTART, MER = 1 << 0, 1 << 1, 1 << 4
_CR_MASK = 0x1FFF_873F
_WRHIGHFREQ = 3 << 4


class Sr(IntFlag):
    """Bits of FLASH_SR; CCR clears those from EOP up."""

    BSY = 1 << 0
    WBNE = 1 << 1
    QW = 1 << 2
    EOP = 1 << 16
    WRPERR = 1 << 17
    PGSERR = 1 << 18
    STRBERR = 1 << 19
    INCERR = 1 << 21
    OPERR = 1 << 22
    RDPERR = 1 << 23
    RDSERR = 1 << 24
    SNECCERR = 1 << 25
    DBECCERR = 1 << 26


_CLEARABLE = 0x1FEF_0000
# plain numbers for the code that runs at every store: operators of IntFlag are slow
_PGSERR, _INCERR, _STRBERR = int(Sr.PGSERR), int(Sr.INCERR), int(Sr.STRBERR)
_EOP, _BUSY, _QUEUED = int(Sr.EOP), int(Sr.BSY | Sr.QW), int(Sr.QW)
_ECC = int(Sr.SNECCERR | Sr.DBECCERR)
_FULL = (1 << FLASH_WORD) - 1


@dataclass
class InFlight:
    """An operation the bank has accepted and not finished."""

    end: float
    seconds: float
    purpose: str
    tear: Callable[[], None]


@dataclass
class KeyLock:
    """Two keys in a row open it; anything else jams it until reset."""

    keys: tuple[int, int]
    stage: int = 0
    jammed: bool = False

    def jam(self) -> None:
        """Refuse every key until reset, with a bus error."""
        self.stage, self.jammed = 0, True
        raise BusError

    def turn(self, value: int, size: int, *, is_open: bool) -> bool:
        """Take a key; True when the lock opens."""
        if self.jammed or is_open or size != 4 or value != self.keys[self.stage]:
            self.jam()
        self.stage = (self.stage + 1) % 2
        return self.stage == 0


@dataclass
class BankRegisters:
    """Registers, write buffer and queue of one bank."""

    cr: int = 0x31
    flags: int = 0
    ecc_fa: int = 0
    lock: KeyLock = field(default_factory=lambda: KeyLock(KEYS))
    buffer: bytearray = field(default_factory=lambda: bytearray(FLASH_WORD))
    filled: int = 0
    """One bit per byte of the buffer that was stored."""
    buffer_address: int = 0
    queue: list[InFlight] = field(default_factory=list)
    polls: int = 0

    def flush(self) -> None:
        """Empty the write buffer."""
        self.filled = 0
        self.buffer[:] = b"\xff" * FLASH_WORD


class FlashRegisters:
    """Front-end of :class:`Flash` at 0x52002000, and of the stores to its banks."""

    def __init__(self, flash: Flash) -> None:
        self.flash = flash
        self.poll_limit = 1.0
        """Longest virtual time one status poll may take, in seconds (the watchdog shortens it)."""
        self.speculation_is_closed: Callable[[], bool] = lambda: True
        """Tells whether the MPU keeps the core from fetching ahead in system memory."""
        self.on_busy: Callable[[int], None] = lambda bank: None
        """Called with 0 or 1 when that bank begins an operation."""
        self.power_on()

    def reset(self) -> None:
        """Take the reset values; an operation under way is torn and leaves OPERR behind."""
        interrupted = []
        for bank in self.banks:
            self._settle(bank)
            interrupted.append(bool(bank.queue))
            for accepted in bank.queue:
                accepted.tear()
        self.power_on()
        for bank, torn in zip(self.banks, interrupted, strict=True):
            bank.flags = Sr.OPERR if torn else 0

    def power_on(self) -> None:
        """Take the state after power-on."""
        self.banks = (BankRegisters(), BankRegisters())
        for bank in self.banks:
            bank.flush()
        self.acr = 0x37
        self.optcr = OPTLOCK
        self.option_lock = KeyLock(OPTION_KEYS)
        self.option_error = False
        self.programmed_options = self.flash.options

    def changed(self) -> dict[int, int]:
        """Return control and status registers, by offset, that are not as after a reset."""
        found = {
            offset + 0x100 * number: value
            for number, bank in enumerate(self.banks)
            for offset, value, usual in ((CR, bank.cr, 0x31), (SR, int(bank.flags), 0))
            if value != usual
        }
        shared = ((ACR, self.acr, 0x37), (OPTCR, self.optcr, OPTLOCK))
        return found | {offset: value for offset, value, usual in shared if value != usual}

    # -- registers --------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Read a register; ``offset`` counts from 0x52002000."""
        number, offset = offset >> 8 & 1, offset & 0xFF
        bank = self.banks[number]
        if offset == SR:
            return self._read_status(bank)
        if offset in (KEYR, OPTKEYR, CCR, OPTCCR):
            return 0
        cur, prg = self.flash.options, self.programmed_options
        values = {
            ACR: self.acr,
            CR: bank.cr,
            OPTCR: self.optcr,
            OPTSR_CUR: cur.optsr | (OPTCHANGEERR if self.option_error else 0),
            OPTSR_PRG: prg.optsr,
            PRAR_CUR: cur.prar[number],
            PRAR_PRG: prg.prar[number],
            SCAR_CUR: cur.scar[number],
            SCAR_PRG: prg.scar[number],
            WPSN_CUR: cur.wpsn[number],
            WPSN_PRG: prg.wpsn[number],
            BOOT_CUR: cur.boot,
            BOOT_PRG: prg.boot,
            ECC_FA: bank.ecc_fa,
        }
        if offset not in values:
            raise _unknown(offset)
        return values[offset]

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a register; raises :class:`BusError` as the lock machine does."""
        number, offset = offset >> 8 & 1, offset & 0xFF
        bank = self.banks[number]
        self._keys_are_not_interrupted(bank, offset)
        if offset == KEYR:
            self._turn_key(bank, value, size)
        elif offset == OPTKEYR:
            self._turn_option_key(value, size)
        elif offset == CR:
            self._write_control(number, value)
        elif offset == CCR:
            bank.flags &= ~(value & _CLEARABLE)
            if not bank.flags & _ECC:
                bank.ecc_fa = 0
        elif offset == ACR:
            self._must_be_idle((value ^ self.acr) & _WRHIGHFREQ, "ACR.WRHIGHFREQ")
            self.acr = value & 0x3F
        elif offset == OPTCR:
            self._write_option_control(value)
        elif offset == OPTCCR:
            self.option_error = self.option_error and not value & OPTCHANGEERR
        elif offset in (OPTSR_PRG, PRAR_PRG, SCAR_PRG, WPSN_PRG, BOOT_PRG):
            if not self.optcr & OPTLOCK:
                self.programmed_options = _with(self.programmed_options, offset, number, value)
        elif offset not in (SR, OPTSR_CUR, PRAR_CUR, SCAR_CUR, WPSN_CUR, BOOT_CUR, ECC_FA):
            raise _unknown(offset)

    def _turn_key(self, bank: BankRegisters, value: int, size: int) -> None:
        was_open = not bank.cr & LOCK
        bank.cr |= LOCK
        if bank.lock.turn(value, size, is_open=was_open):
            bank.cr &= ~LOCK

    def _turn_option_key(self, value: int, size: int) -> None:
        was_open = not self.optcr & OPTLOCK
        self.optcr |= OPTLOCK
        if self.option_lock.turn(value, size, is_open=was_open):
            self.optcr &= ~OPTLOCK

    def _keys_are_not_interrupted(self, bank: BankRegisters, offset: int) -> None:
        if bank.lock.stage and offset != KEYR:
            bank.lock.jam()
        if self.option_lock.stage and offset != OPTKEYR:
            self.option_lock.jam()

    def _read_status(self, bank: BankRegisters) -> int:
        self._settle(bank)
        value = bank.flags | int(bank.filled > 0) << 1
        if bank.queue:
            bank.polls += 1
            # BSY drops between the steps of an operation; only QW holds throughout
            value |= _QUEUED if bank.polls % 3 == 2 else _BUSY
            running = bank.queue[0]
            parts = 64 if running.purpose == "erase" else 1
            step = min(running.seconds / parts, running.end - self.flash.clock.now, self.poll_limit)
            # a hair more than the rest, so that the last poll is the last
            self.flash.clock.advance(step + 1e-9, running.purpose)
        return value

    def _write_control(self, number: int, value: int) -> None:
        bank = self.banks[number]
        if bank.cr & LOCK:
            return
        self._settle(bank)
        if bank.queue:
            self._must_be_idle((value ^ bank.cr) & PSIZE, f"CR{number + 1}.PSIZE")
        bank.cr = value & _CR_MASK & ~(FW | START)
        if value & FW and bank.filled and bytes(bank.buffer) != b"\xff" * FLASH_WORD:
            self._commit(number)
        if value & START and bank.cr & (SER | BER):
            self._start_erase(number)

    def _must_be_idle(self, changed: int, name: str) -> None:
        if changed and any(self.is_busy(number) for number in (0, 1)):
            raise SimulationFault(
                name,
                "it was changed while a flash operation runs",
                "the flash may be corrupted by that (RM0433 4.3.8)",
                "wait until QW is 0 first",
            )

    def _write_option_control(self, value: int) -> None:
        if self.optcr & OPTLOCK:
            return
        self.optcr = value & (OPTLOCK | MER)
        unlocked = not any(bank.cr & LOCK for bank in self.banks)
        if value & MER and unlocked:
            for number in (0, 1):
                self.banks[number].cr |= BER
                self._start_erase(number)
        if value & OPTSTART:
            self._change_options()

    def _change_options(self) -> None:
        new, old = self.programmed_options, self.flash.options
        if old.rdp_level == 2:
            self.option_error = True
            self.programmed_options = old
            return
        self.flash.clock.advance(self.flash.erase_seconds(), "options")
        self.flash.change_options(new)

    # -- stores to the banks ----------------------------------------------------------------------

    def store(self, address: int, size: int, value: int) -> None:
        """Take a store of 1, 2, 4 or 8 bytes to user flash into the write buffer."""
        number = int(address >= self.flash.banks[1].span.start)
        bank = self.banks[number]
        if bank.flags & _INCERR or not bank.cr & PG:
            bank.flags |= _PGSERR
            bank.flush()
        if bank.flags & _PGSERR:
            return
        at = address % FLASH_WORD
        if bank.filled and bank.buffer_address != address - at:
            bank.flags |= _INCERR
            bank.flush()
            return
        bank.buffer_address = address - at
        bits = ((1 << size) - 1) << at
        if bank.filled & bits:
            bank.flags |= _STRBERR
        bank.filled |= bits
        bank.buffer[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        if bank.filled == _FULL:
            self._commit(number)

    def _commit(self, number: int) -> None:
        bank = self.banks[number]
        address, data = bank.buffer_address, bytes(bank.buffer)
        bank.flush()
        if self.flash.is_protected(address):
            bank.flags |= Sr.WRPERR
            return
        self._make_room(bank)
        if self.flash.faults.program_fails(address):
            bank.flags |= Sr.OPERR
            return
        seconds = self.flash.program_seconds(bank.cr >> 4)
        self._begin(number, "program", seconds, lambda: self.flash.program(address, data))

    def _start_erase(self, number: int) -> None:
        bank = self.banks[number]
        cells, count = self.flash.banks[number], self.flash.chip.sectors_per_bank
        whole_bank = bool(bank.cr & BER)
        sectors = list(range(count)) if whole_bank else [bank.cr >> 8 & 7]
        starts = [cells.span.start + sector * SECTOR_SIZE for sector in sectors]
        if any(self.flash.is_protected(start) for start in starts):
            bank.flags |= Sr.WRPERR
            return
        self._make_room(bank)
        failures = [self.flash.faults.erase_fails(start) for start in starts]
        if any(failures):
            bank.flags |= Sr.OPERR
            return
        kind = OpKind.BANK_ERASE if whole_bank else OpKind.ERASE
        seconds = self.flash.erase_seconds(kind, bank.cr >> 4)
        if whole_bank:
            self._begin(number, "erase", seconds, lambda: self.flash.erase_bank(number + 1))
        else:
            self._begin(number, "erase", seconds, lambda: self.flash.erase_sector(starts[0]))

    def _begin(
        self, number: int, purpose: str, seconds: float, do: Callable[[], Callable[[], None]]
    ) -> None:
        bank = self.banks[number]
        begin = bank.queue[-1].end if bank.queue else self.flash.clock.now
        if len(self.flash.operations) % 8 == 3 and not self.speculation_is_closed():
            # the core fetched ahead in system memory: flags nobody asked for
            self.banks[0].flags |= Sr.RDPERR | Sr.RDSERR
        tear = do()
        bank.queue.append(InFlight(begin + seconds, seconds, purpose, tear))
        bank.polls = 0
        self.on_busy(number)

    # -- time -------------------------------------------------------------------------------------

    def is_busy(self, number: int) -> bool:
        """Tell whether bank 0 or 1 has an operation running or waiting."""
        self._settle(self.banks[number])
        return bool(self.banks[number].queue)

    def stall_until_idle(self, number: int) -> None:
        """Let the time pass that a read of a busy bank is stalled."""
        for running in list(self.banks[number].queue):
            self.flash.clock.advance_to(running.end, running.purpose)
        self._settle(self.banks[number])

    def _settle(self, bank: BankRegisters) -> None:
        while bank.queue and bank.queue[0].end <= self.flash.clock.now:
            bank.queue.pop(0)
            bank.flags |= _EOP

    def _make_room(self, bank: BankRegisters) -> None:
        """Stall the master until the queue takes one more operation."""
        self._settle(bank)
        if len(bank.queue) >= 2:
            self.flash.clock.advance_to(bank.queue[0].end, bank.queue[0].purpose)
            self._settle(bank)

    # -- reads ------------------------------------------------------------------------------------

    def sense(self, address: int) -> Word:
        """Read user flash as the bus does: set the ECC flags and return the state met.

        Raises :class:`BusError` when read-out protection closes the flash.
        """
        number = 0 if self.flash.banks[0].span.contains(address) else 1
        bank, cells = self.banks[number], self.flash.banks[number]
        if self.flash.intrusion:
            bank.flags |= Sr.RDPERR
            raise BusError
        state = cells.sense(address - cells.span.start)
        flag = {Word.CORRECTED: Sr.SNECCERR, Word.POISONED: Sr.DBECCERR}.get(state)
        if flag is not None:
            if not bank.flags & (Sr.SNECCERR | Sr.DBECCERR):
                bank.ecc_fa = cells.word_of(address)
            bank.flags |= flag
        return state


def _unknown(offset: int) -> SimulationFault:
    return SimulationFault(
        f"flash register at offset 0x{offset:02X}",
        "the virtual chip does not know it",
        "expected one of the program, erase, option and ECC registers",
    )


def _with(options: OptionBytes, offset: int, number: int, value: int) -> OptionBytes:
    def pair(old: tuple[int, int]) -> tuple[int, int]:
        return (value, old[1]) if number == 0 else (old[0], value)

    if offset == OPTSR_PRG:
        return replace(options, optsr=value & ~OPTCHANGEERR)
    if offset == BOOT_PRG:
        return replace(options, boot=value)
    if offset == PRAR_PRG:
        return replace(options, prar=pair(options.prar))
    if offset == SCAR_PRG:
        return replace(options, scar=pair(options.scar))
    return replace(options, wpsn=pair(options.wpsn))
