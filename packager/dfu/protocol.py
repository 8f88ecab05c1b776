"""Speaks DfuSe (AN3156) to one device: addresses, sectors and blocks, no knowledge of updates.

Promises: every phase has a deadline in the device's time and is named in its error; a request is
only sent in a state that allows it; nothing here can send Read Unprotect or a mass erase.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from types import TracebackType

from packager.chip import CHIPS, FLASH_WORD, SECTOR_SIZE
from packager.dfu.constants import (
    FIRST_DATA_BLOCK,
    REQUEST_IN,
    REQUEST_OUT,
    Command,
    Request,
    State,
    Status,
)
from packager.dfu.memory_map import MemoryMap
from packager.dfu.pipe import Clock, ControlPipe, GoneError, StalledError, WallClock
from packager.dfu.replies import (
    LOADER_AGAIN,
    REPLUG,
    RequestRefusedError,
    StatusReply,
    no_answer,
    read_reply,
    refusal,
    still_busy,
)
from packager.dfu.rom import (
    NO_ROM,
    ROM_ID_ADDRESS,
    ROM_ID_SIZE,
    UNKNOWN_ROM,
    WORST_ERASE_SECONDS,
    RomVersion,
    rom_version,
)
from packager.errors import (
    DeviceError,
    DeviceTimeoutError,
    ProtectedError,
    VerifyMismatchError,
)

STATUS_TIMEOUT_MS = 15_000
"""The ROM erases inside GETSTATUS; a worn sector took 10 s in the field."""
REQUEST_TIMEOUT_MS = 5_000

ADDRESS_SECONDS = 5.0
PROGRAM_SECONDS = 10.0
ERASE_SECONDS = 30.0
LEFTOVER_SECONDS = 10.0
"""How long a command of an earlier, interrupted run may stay busy."""

SHORTEST_POLL = 0.001
LONGEST_POLL = 0.050
"""The ROM announces 1 s for an erase it has already done when it answers, so we look earlier."""

NOT_ERASED_DO = (
    "drop again; if it happens again the sector is write-protected (WRP option bytes) or worn out: "
    "ask the maker of the device"
)

BANK_2 = CHIPS["stm32h743xi"].banks[1].start


class DfuSe:
    """One DfuSe device, opened; use it as a context manager."""

    def __init__(
        self,
        pipe: ControlPipe,
        clock: Clock | None = None,
        *,
        memory_map: MemoryMap | None = None,
        interface: int = 0,
        transfer_size: int = 1024,
        where: str = "DFU",
        is_loader: bool = False,
    ) -> None:
        if transfer_size < FLASH_WORD or transfer_size % FLASH_WORD:
            raise DeviceError(
                where,
                f"the device transfers {transfer_size} bytes at a time",
                f"expected a multiple of {FLASH_WORD} (a flash word)",
                "this is no STM32H743; choose another device with --device",
            )
        self.clock: Clock = clock or WallClock()
        self.memory_map = memory_map
        self.transfer_size = transfer_size
        self.where = where
        self.is_loader = is_loader
        """A loader of ours answers, not the ROM: none of the ROM's faults are to be expected."""
        self.rom = NO_ROM if is_loader else UNKNOWN_ROM
        self._again = LOADER_AGAIN if is_loader else REPLUG
        self._pipe = pipe
        self._interface = interface
        self._state: State | None = None
        """As the device last told; None when that may not be true any more."""
        self._answers = False
        """The device was spoken to, and nothing says that it cannot answer."""
        self._busy_until = 0.0
        """When the time is over that the device announced for what it is doing."""
        self._doing = "connect"

    def __enter__(self) -> DfuSe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the device idle for the next program, also after an error or an interruption."""
        try:
            if self._answers:
                self._be_idle()
        except DeviceError:
            pass
        finally:
            self._answers = False
            self._pipe.close()

    # -- what a caller asks for -------------------------------------------------------------------

    def to_idle(self) -> None:
        """Bring the device to dfuIDLE from whatever state an earlier program left it in."""
        self._doing = "connect"
        self._recover()

    def read_rom_id(self) -> RomVersion:
        """Read the version of the ROM, best effort: a device that refuses counts as unknown."""
        if self.is_loader:
            return self.rom
        try:
            self.rom = rom_version(self.upload(ROM_ID_ADDRESS, ROM_ID_SIZE))
        except (RequestRefusedError, ProtectedError):
            self.rom = UNKNOWN_ROM
        return self.rom

    def set_address(self, address: int) -> None:
        """Set the address pointer."""
        self._doing = f"set address 0x{address:08X}"
        self._command(Command.SET_ADDRESS, address)
        self._finish(ADDRESS_SECONDS)

    def erase_sector(self, address: int) -> None:
        """Erase the sector that holds ``address`` and see that it is blank.

        Where the ROM is known to do what it says, the first block tells: a write-protected sector
        gives no error. In bank 2 of doubtful ROMs the whole sector is read.

        Raises:
            ProtectedError: the device is read-protected.
            VerifyMismatchError: the device reports success, and the sector is not blank.
            DeviceTimeoutError: it stays busy beyond any real erase.
        """
        sector = address - address % SECTOR_SIZE
        self._doing = f"erase of sector 0x{sector:08X}"
        began = self.clock.now
        self._command(Command.ERASE, sector)
        if sector < BANK_2 or not self.rom.is_doubtful_in_bank2:
            self._finish(ERASE_SECONDS)
            self._check_blank(sector, self.transfer_size)
            return
        self._finish_doubtful_erase()
        if self.rom.answers_before_bank2_erase_ends:
            # the flash may still be busy; the next command for it would hang the ROM
            self._sleep_until(began + WORST_ERASE_SECONDS + LONGEST_POLL)
        self._check_blank(sector, SECTOR_SIZE)

    def write_blocks(
        self, address: int, data: bytes, on_done: Callable[[int], None] | None = None
    ) -> None:
        """Program ``data``, whole flash words, at ``address``: one Set Address, ascending blocks.

        A tail shorter than the transfer size gets its own Set Address: AN3156 leaves open where a
        short block with a number above 2 would land.
        """
        assert (address | len(data)) % FLASH_WORD == 0, "whole flash words only"
        size = self.transfer_size
        whole = len(data) - len(data) % size
        for offset in range(0, len(data), size):
            at = address + offset
            if offset in (0, whole):
                self.set_address(at)
                block = FIRST_DATA_BLOCK
            self._doing = f"write at 0x{at:08X}"
            self._out(Request.DNLOAD, block, data[offset : offset + size])
            self._finish(PROGRAM_SECONDS)
            block += 1
            if on_done:
                on_done(min(size, len(data) - offset))

    def upload(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes at ``address``.

        Raises:
            RequestRefusedError: some of it cannot be read.
            ProtectedError: the device is read-protected.
        """
        return b"".join(self.upload_blocks(address, size))

    def upload_blocks(self, address: int, size: int) -> Generator[bytes, None, None]:
        """Read ``size`` bytes block by block; a caller may stop in the middle."""
        step = self.transfer_size
        whole = size - size % step
        for offset in range(0, size, step):
            if offset in (0, whole):
                self.set_address(address + offset)
                self._be_idle()
                block = FIRST_DATA_BLOCK
            length = min(step, size - offset)
            self._doing = f"read at 0x{address + offset:08X}"
            data = self._in(Request.UPLOAD, block, length)
            self._state = State.DFU_UPLOAD_IDLE
            if len(data) != length:
                raise RequestRefusedError(
                    self._at(), f"{len(data)} bytes came back", f"expected {length}", self._again
                )
            yield data
            block += 1

    def leave(self, address: int) -> None:
        """Start what lies at ``address``; a device that vanishes while it answers has left."""
        self.set_address(address)
        self._doing = f"leave to 0x{address:08X}"
        reply = None
        with suppress(GoneError, DeviceTimeoutError):
            with suppress(StalledError):
                self._transfer(REQUEST_OUT, Request.DNLOAD, 0, b"", REQUEST_TIMEOUT_MS)
            with suppress(StalledError):
                reply = self.get_status()
        if reply and reply.state is State.DFU_ERROR:
            raise refusal(self._at(), reply, self._again)
        self._answers = False

    def abort(self) -> None:
        """Send ABORT: back to dfuIDLE from the download and upload states."""
        self._out(Request.ABORT, 0, b"")
        self._state = State.DFU_IDLE

    def get_status(self) -> StatusReply:
        """Ask for status and state; after a DNLOAD this makes the device execute it."""
        data = self._transfer(REQUEST_IN, Request.GETSTATUS, 0, 6, STATUS_TIMEOUT_MS)
        reply = read_reply(data, self._at(), self._again)
        self._state = reply.state
        return reply

    # -- states -----------------------------------------------------------------------------------

    def _be_idle(self) -> None:
        if self._state in (State.DFU_UPLOAD_IDLE, State.DFU_DNLOAD_IDLE):
            self.abort()
        elif self._state is not State.DFU_IDLE:
            self._recover()

    def _recover(self) -> None:
        for _ in range(5):
            reply = self._poll(LEFTOVER_SECONDS)
            if reply.state is State.DFU_IDLE:
                return
            if reply.state is State.DFU_DNBUSY and self.is_loader:
                raise still_busy(self._at(), LEFTOVER_SECONDS, self._again)
            if reply.state is State.DFU_DNBUSY:
                self._clear_stuck_busy()
            elif reply.state is State.DFU_ERROR:
                self._out(Request.CLRSTATUS, 0, b"")
            elif reply.state in (State.APP_IDLE, State.APP_DETACH):
                break
            else:
                self.abort()
        raise DeviceError(self._at(), f"device stays at {reply}", "expected dfuIDLE", self._again)

    def _command(self, command: Command, address: int) -> None:
        if self._state is not State.DFU_DNLOAD_IDLE:
            self._be_idle()
        self._out(Request.DNLOAD, 0, bytes([command]) + address.to_bytes(4, "little"))

    def _finish(self, seconds: float) -> None:
        self._expect_done(self._poll(seconds), seconds)

    def _expect_done(self, reply: StatusReply, seconds: float) -> None:
        if reply.state is State.DFU_DNBUSY:
            self._answers = False
            raise still_busy(self._at(), seconds, self._again)
        if reply.status is not Status.OK or reply.state is not State.DFU_DNLOAD_IDLE:
            raise refusal(self._at(), reply, self._again)

    def _finish_doubtful_erase(self) -> None:
        """Wait for an erase by a ROM that may say "busy" for ever, and free it from that."""
        stays_busy = self.rom.stays_busy_after_bank2_erase
        seconds = WORST_ERASE_SECONDS + LONGEST_POLL if stays_busy else ERASE_SECONDS
        reply = self._poll(seconds)
        if stays_busy and reply.state is State.DFU_DNBUSY:
            self._clear_stuck_busy()
        else:
            self._expect_done(reply, seconds)

    def _poll(self, seconds: float) -> StatusReply:
        """Ask until the device is no longer busy, or ``seconds`` have passed and it still is."""
        deadline = self.clock.now + seconds
        first = True
        while True:
            asked = self.clock.now
            reply = self.get_status()
            now = self.clock.now
            if reply.state is not State.DFU_DNBUSY or now >= deadline:
                return reply
            if first:
                self._busy_until = now + min(reply.poll_seconds, ERASE_SECONDS)
            pause = _pause(reply.poll_seconds, now - asked, first=first)
            self.clock.sleep(min(pause, deadline - now))
            first = False

    def _clear_stuck_busy(self) -> None:
        """Free a ROM that reports dfuDNBUSY for ever, not before the time it announced has passed.

        The first CLRSTATUS ends in dfuERROR with errUNKNOWN, the second in dfuIDLE.
        """
        self._sleep_until(self._busy_until)
        for _ in range(2):
            self._out(Request.CLRSTATUS, 0, b"")
            reply = self.get_status()
            if reply.state is State.DFU_IDLE:
                return
        self._answers = False
        raise DeviceTimeoutError(
            self._at(), f"the device stays at {reply} after CLRSTATUS", "expected dfuIDLE", REPLUG
        )

    def _check_blank(self, sector: int, size: int) -> None:
        where = self._at()
        for data in self.upload_blocks(sector, size):
            if data.count(0xFF) != len(data):
                raise VerifyMismatchError(
                    where,
                    "the device reports success, but the sector is not blank",
                    "expected it to be erased"
                    + ("" if self.is_loader else f" (ROM {self.rom.name})"),
                    NOT_ERASED_DO,
                )

    def _sleep_until(self, moment: float) -> None:
        if moment > self.clock.now:
            self.clock.sleep(moment - self.clock.now)

    # -- transfers --------------------------------------------------------------------------------

    def _out(self, request: Request, value: int, data: bytes) -> None:
        self._guarded(REQUEST_OUT, request, value, data)

    def _in(self, request: Request, value: int, length: int) -> bytes:
        return self._guarded(REQUEST_IN, request, value, length)

    def _guarded(self, kind: int, request: Request, value: int, data: bytes | int) -> bytes:
        try:
            return self._transfer(kind, request, value, data, REQUEST_TIMEOUT_MS)
        except StalledError:
            raise refusal(self._at(), self.get_status(), self._again) from None

    def _transfer(
        self, kind: int, request: Request, value: int, data: bytes | int, timeout_ms: int
    ) -> bytes:
        # an interruption in the middle leaves it like this: some state, and a device to ask
        self._state, self._answers = None, True
        try:
            return self._pipe.ctrl_transfer(kind, request, value, self._interface, data, timeout_ms)
        except StalledError as error:
            found = f"{error.found} ({request.name})"
            raise StalledError(self._at(), found, error.expected, error.do) from error
        except GoneError as error:
            self._answers = False
            do = self._again if self.is_loader else error.do
            raise GoneError(self._at(), error.found, error.expected, do) from error
        except DeviceTimeoutError as error:
            self._answers = False
            seconds = timeout_ms / 1000
            raise no_answer(self._at(), request.name, seconds, self._again) from error

    def _at(self) -> str:
        return f"{self.where}: {self._doing}"


def _pause(announced: float, answered_in: float, *, first: bool) -> float:
    """Return how long to wait before the device is asked again.

    The ROM works inside the request and announces that time again in its answer, so the time the
    answer took counts. A device that works in the background is asked every ``LONGEST_POLL``.
    """
    if first and answered_in >= announced:
        return 0.0
    if first and answered_in >= announced / 2:
        return SHORTEST_POLL
    return min(max(announced - answered_in, SHORTEST_POLL), LONGEST_POLL)
