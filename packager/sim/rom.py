"""The DfuSe device in the chip's system memory, with the quirks of its versions (AN3156, AN2606).

Written from the protocol document; it shares numbers with the client, no logic. A command takes
effect inside the GETSTATUS that follows it, and that GETSTATUS takes as long as the work.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import Enum

from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.dfu.constants import (
    FIRST_DATA_BLOCK,
    REQUEST_IN,
    REQUEST_OUT,
    Command,
    Request,
    State,
    Status,
)
from packager.sim import rom_descriptors as about
from packager.sim.cells import Word
from packager.sim.flash import Flash
from packager.sim.operations import Cut, PowerCut
from packager.sim.options import RDP_LEVEL_0, OptionBytes
from packager.sim.usb import Descriptors, Gone, Hung, Stall, UsbFailure, UsbTiming

__all__ = ["Gone", "Hung", "RomDfu", "Stall", "UsbFailure", "UsbTiming"]

SYSTEM_MEMORY = range(0x1FF0_0000, 0x1FF2_0000)
OPTION_BLOCK = 0x5200_201C
OPTION_BLOCK_SIZE = 0x134
_MAX_TRANSFER = 2048


class _Life(Enum):
    ON_BUS = 0
    HUNG = 1
    GONE = 2


class RomDfu:
    """The ROM's USB device while the board sits in it: one method, :meth:`control`."""

    def __init__(
        self, flash: Flash, rom_id: int, system_memory: Callable[[int, int], bytes]
    ) -> None:
        self.version = about.ROM_VERSIONS[rom_id]
        self.flash = flash
        self.clock = flash.clock
        self.timing = UsbTiming()
        self.transfers = 0
        self.unplug_at: int | None = None
        """Planted: this transfer, counted from 1, finds the cable pulled."""
        self.wedge_leaves_dirty = False
        """Planted: the wedging erase of ROM 0x90 erases nothing, so only a blank check helps."""
        self.leave_drops_early = False
        """Planted: the device vanishes before it answers the last GETSTATUS of a leave."""
        self.address_by_length_sent = True
        """Block n lies at pointer + (n - 2) * length of this transfer, as AN3156 can be read."""
        self.left_to: int | None = None
        """After a leave: the address whose vectors the ROM jumps through."""
        self.power_cut: Cut | None = None
        """The planned power cut, once it happened."""
        self.on_gone: Callable[[], None] = lambda: None
        self._system_memory = system_memory
        self._life = _Life.ON_BUS
        self._pointer = self._leave_pointer = 0x0800_0000
        self._bank2_busy_until = 0.0
        self._wedged_until: float | None = None
        self._pending: Callable[[], Status] = lambda: Status.OK
        self._pending_poll = 0
        self.reset()

    def reset(self) -> None:
        """Take a USB bus reset."""
        self._state, self._status = State.DFU_IDLE, Status.OK
        self._after_busy = Status.OK
        self._wedged_until = None
        self._alt = 0

    @property
    def is_on_bus(self) -> bool:
        """Tell whether the host still sees the device (it does when the device hangs)."""
        return self._life is not _Life.GONE

    @property
    def descriptors(self) -> Descriptors:
        """What it said when it was enumerated."""
        return Descriptors(about.device_descriptor(), about.configuration_descriptor())

    def drop(self) -> None:
        """Leave the bus for good: unplugged, reset or left."""
        self._life = _Life.GONE
        self.on_gone()

    # -- transfers --------------------------------------------------------------------------------

    def control(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | bytearray | int,
    ) -> bytes:
        """Do one control transfer: OUT takes bytes and returns none, IN takes the length wanted."""
        self.transfers += 1
        if self.transfers == self.unplug_at:
            self.drop()
        if self._life is _Life.GONE:
            raise Gone
        if self._life is _Life.HUNG:
            self.clock.advance(5.0, "usb")
            raise Hung
        incoming = bool(request_type & 0x80)
        length = data_or_length if isinstance(data_or_length, int) else len(data_or_length)
        self.clock.advance(self.timing.request + length * self.timing.byte, "usb")
        data = b"" if isinstance(data_or_length, int) else bytes(data_or_length)
        try:
            answer = self._dispatch(request_type, request, value, index, data, length)
        except PowerCut as cut:
            self.power_cut = cut.cut
            self.drop()
            raise Gone from cut
        return answer[:length] if incoming else b""

    def _dispatch(
        self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
    ) -> bytes:
        if request_type & 0x60 == 0:
            return self._standard(request_type, request, value)
        if request == Request.DETACH:
            return b""
        if request_type == REQUEST_OUT:
            if request == Request.DNLOAD:
                return self._download(value, data)
            if request == Request.CLRSTATUS:
                return self._clear_status()
            if request == Request.ABORT:
                return self._abort()
        elif request_type == REQUEST_IN:
            if request == Request.UPLOAD:
                return self._upload(value, length)
            if request == Request.GETSTATUS:
                return self._get_status()
            if request == Request.GETSTATE:
                return bytes((self._state,))
        raise Stall

    def _standard(self, request_type: int, request: int, value: int) -> bytes:
        if request == 6:
            return self._descriptor(value >> 8, value & 0xFF)
        if request == 11:
            if value >= len(about.ALT_NAMES):
                raise Stall
            self._alt = value
            return b""
        if request in (8, 10):
            return bytes((1 if request == 8 else self._alt,))
        if request == 0 and request_type & 0x80:
            return b"\x01\x00"
        if request in (1, 3, 9):
            return b""
        raise Stall

    def _descriptor(self, kind: int, number: int) -> bytes:
        found = {
            1: about.device_descriptor(),
            2: about.configuration_descriptor(),
            3: about.string_descriptor(number, self.version) if kind == 3 else None,
            0x21: about.FUNCTIONAL_DESCRIPTOR,
        }.get(kind)
        if found is None:
            raise Stall
        return found

    # -- states -----------------------------------------------------------------------------------

    def _refuse(self, status: Status = Status.ERR_STALLEDPKT) -> Stall:
        if self._wedged_until is None:  # nothing but CLRSTATUS leads out of a wedge
            self._state, self._status = State.DFU_ERROR, status
        return Stall()

    def _clear_status(self) -> bytes:
        if self._state is State.DFU_DNBUSY and self._wedged_until is not None:
            if self.clock.now >= self._wedged_until:
                self._wedged_until = None
                self._state, self._status = State.DFU_ERROR, Status.ERR_UNKNOWN
        elif self._state is not State.DFU_DNBUSY:
            self._state, self._status = State.DFU_IDLE, Status.OK
        return b""

    def _abort(self) -> bytes:
        if self._state not in (State.DFU_IDLE, State.DFU_DNLOAD_IDLE, State.DFU_UPLOAD_IDLE):
            raise self._refuse()
        self._state = State.DFU_IDLE
        return b""

    def _get_status(self) -> bytes:
        poll = 0
        if self._state is State.DFU_DNLOAD_SYNC:
            self._after_busy = self._pending()
            self._state, poll = State.DFU_DNBUSY, self._pending_poll
        elif self._state is State.DFU_DNBUSY:
            if self._wedged_until is not None:
                poll = self._pending_poll
            else:
                self._status = self._after_busy
                failed = self._status is not Status.OK
                self._state = State.DFU_ERROR if failed else State.DFU_DNLOAD_IDLE
        elif self._state is State.DFU_MANIFEST_SYNC:
            return self._leave()
        return self._status_bytes(poll)

    def _status_bytes(self, poll: int) -> bytes:
        return bytes((self._status,)) + struct.pack("<I", poll)[:3] + bytes((self._state, 0))

    def _leave(self) -> bytes:
        self._state = State.DFU_MANIFEST
        answer = self._status_bytes(0)
        self.left_to = self._leave_pointer
        self.drop()
        if self.leave_drops_early:
            raise Gone
        return answer

    # -- download ---------------------------------------------------------------------------------

    def _download(self, block: int, data: bytes) -> bytes:
        if self._state not in (State.DFU_IDLE, State.DFU_DNLOAD_IDLE):
            raise self._refuse()
        if not data:
            self._state = State.DFU_MANIFEST_SYNC
            return b""
        if block == 0:
            self._pending, self._pending_poll = self._command(data)
        elif block >= FIRST_DATA_BLOCK and 2 <= len(data) <= _MAX_TRANSFER:
            step = len(data) if self.address_by_length_sent else about.TRANSFER_SIZE
            address = self._pointer + (block - FIRST_DATA_BLOCK) * step
            self._pending, self._pending_poll = (lambda: self._write(address, data)), 1
        else:
            raise self._refuse()
        self._state = State.DFU_DNLOAD_SYNC
        return b""

    def _command(self, data: bytes) -> tuple[Callable[[], Status], int]:
        address = int.from_bytes(data[1:5], "little")
        if data[0] == Command.SET_ADDRESS and len(data) == 5:
            return (lambda: self._set_address(address)), 1
        if data[0] == Command.ERASE and len(data) == 5:
            return (lambda: self._erase(address)), 1000
        if data[0] == Command.ERASE and len(data) == 1:
            return self._mass_erase, 10000
        if data[0] == Command.READ_UNPROTECT and len(data) == 1:
            return self._read_unprotect, 1000
        raise self._refuse()

    @property
    def _is_protected(self) -> bool:
        return self.flash.options.rdp_level > 0

    def _set_address(self, address: int) -> Status:
        known = self.flash.chip.bank_of(address) is not None or address in SYSTEM_MEMORY
        if not known and not _in_options(address):
            return Status.ERR_TARGET
        self._pointer = self._leave_pointer = address
        return Status.OK

    def _erase(self, address: int) -> Status:
        if self._is_protected:
            return Status.ERR_VENDOR
        bank = self.flash.chip.bank_of(address)
        if bank is None:
            return Status.ERR_TARGET
        self._flash_must_be_free()
        if bank == 2 and self.version.wedges_on_bank2_erase:
            self._wedged_until = self.clock.now + 2 * self._erase_seconds
            if self.wedge_leaves_dirty:
                return Status.OK
        start = address - (address - self.flash.cells_of(address).span.start) % SECTOR_SIZE
        return self._erase_sectors(bank, [start])

    def _erase_sectors(self, bank: int, starts: list[int]) -> Status:
        seconds = self._erase_seconds * (2 if bank == 2 else 1) * len(starts)
        for start in starts:
            if self.flash.is_protected(start):
                continue  # the ROM does not tell
            if self.flash.faults.erase_fails(start):
                return Status.ERR_ERASE
            self.flash.erase_sector(start)
        if bank == 2 and self.version.answers_during_bank2_erase:
            self._bank2_busy_until = self.clock.now + seconds
        elif self._wedged_until is None:
            self.clock.advance(seconds, "erase")
        return Status.OK

    @property
    def _erase_seconds(self) -> float:
        """Measured: 0.90 s a sector where the datasheet says 1.0 s typical."""
        return 0.9 * self.flash.erase_seconds()

    def _mass_erase(self) -> Status:
        if self._is_protected:
            return Status.ERR_VENDOR
        if not self.version.mass_erase_works:
            return Status.ERR_ERASE
        self._flash_must_be_free()
        for number, cells in enumerate(self.flash.banks, start=1):
            starts = range(cells.span.start, cells.span.end, SECTOR_SIZE)
            self._erase_sectors(number, list(starts))
        return Status.OK

    def _read_unprotect(self) -> Status:
        if self.flash.options.rdp_level == 1:
            self.clock.advance(10 * self._erase_seconds, "erase")
            self.flash.change_options(self.flash.options.with_rdp(RDP_LEVEL_0))
            self.drop()
            raise Gone
        return Status.OK

    def _write(self, address: int, data: bytes) -> Status:
        if self._is_protected:
            return Status.ERR_VENDOR
        if address == OPTION_BLOCK:
            return self._write_options(data)
        chip = self.flash.chip
        if chip.bank_of(address) is None or chip.bank_of(address + len(data) - 1) is None:
            return Status.ERR_TARGET
        if address % FLASH_WORD:
            return Status.ERR_ADDRESS
        self._flash_must_be_free()
        self._leave_pointer = address
        data += b"\xff" * (-len(data) % FLASH_WORD)
        for at in range(0, len(data), FLASH_WORD):
            if self.flash.is_protected(address + at):
                continue  # the ROM does not tell
            if self.flash.faults.program_fails(address + at):
                return Status.ERR_PROG
            self.flash.program(address + at, data[at : at + FLASH_WORD])
            self.clock.advance(self.flash.program_seconds(), "program")
        return Status.OK

    def _flash_must_be_free(self) -> None:
        if self.clock.now < self._bank2_busy_until:
            self._life = _Life.HUNG
            raise Hung

    # -- upload -----------------------------------------------------------------------------------

    def _upload(self, block: int, length: int) -> bytes:
        if self._state not in (State.DFU_IDLE, State.DFU_UPLOAD_IDLE):
            raise self._refuse()
        if block == 0:
            self._state = State.DFU_UPLOAD_IDLE
            commands = (Command.GET, Command.SET_ADDRESS, Command.ERASE, Command.READ_UNPROTECT)
            return bytes(commands)
        if block < FIRST_DATA_BLOCK or length > _MAX_TRANSFER:
            raise self._refuse()
        if self._is_protected:
            raise self._refuse(Status.ERR_VENDOR)
        step = length if self.address_by_length_sent else about.TRANSFER_SIZE
        data = self._read(self._pointer + (block - FIRST_DATA_BLOCK) * step, length)
        self._state = State.DFU_UPLOAD_IDLE
        return data

    def _read(self, address: int, length: int) -> bytes:
        if address in SYSTEM_MEMORY:
            return self._system_memory(address, min(length, SYSTEM_MEMORY.stop - address))
        if _in_options(address):
            at = address - OPTION_BLOCK
            return option_block(self.flash.options)[at : at + length]
        bank = self.flash.chip.bank_of(address)
        if bank is None:
            raise self._refuse(Status.ERR_TARGET)
        cells = self.flash.banks[bank - 1]
        if bank == 2:
            self.clock.advance_to(self._bank2_busy_until, "erase")
        length = min(length, cells.span.end - address)
        first = (address - cells.span.start) // FLASH_WORD * FLASH_WORD
        for offset in range(first, address - cells.span.start + length, FLASH_WORD):
            if cells.sense(offset) is Word.POISONED:
                raise self._refuse(Status.ERR_UNKNOWN)
        return self.flash.peek(address, length)

    def _write_options(self, data: bytes) -> Status:
        if len(data) < 0x2C:
            return Status.ERR_NOTDONE
        words = struct.unpack_from("<11I", data)
        old = self.flash.options
        new = OptionBytes(
            optsr=words[1],
            prar=(words[4], old.prar[1]),
            scar=(words[6], old.scar[1]),
            wpsn=(words[8], old.wpsn[1]),
            boot=words[10],
        )
        self.flash.change_options(new)
        self.drop()
        raise Gone


def _in_options(address: int) -> bool:
    return OPTION_BLOCK <= address < OPTION_BLOCK + OPTION_BLOCK_SIZE


def option_block(options: OptionBytes) -> bytes:
    """Return the option registers from OPTSR_CUR on as the ROM uploads them, both banks."""

    def bank(number: int) -> bytes:
        pairs = (
            options.optsr,
            options.prar[number],
            options.scar[number],
            options.wpsn[number],
            options.boot,
        )
        first, rest = pairs[0], pairs[1:]
        words = [first, first, 0, *(word for pair in rest for word in (pair, pair))]
        return struct.pack(f"<{len(words)}I", *words)

    block = bank(0)
    block += bytes(0x100 - len(block)) + bank(1)
    return block[:OPTION_BLOCK_SIZE].ljust(OPTION_BLOCK_SIZE, b"\0")
