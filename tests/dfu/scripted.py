"""A small DfuSe device to script, apart from the virtual board: what the client is tested against.

It follows AN3156 and breaks the test at once when the client breaks a rule of flash or protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.dfu.memory_map import parse_memory_map
from packager.dfu.pipe import GoneError, StalledError
from packager.dfu.protocol import DfuSe
from packager.errors import DeviceTimeoutError

FLASH = range(0x08000000, 0x08200000)
ROM_ID = 0x1FF1E7FE
MAP = "@Internal Flash   /0x08000000/16*128Kg"
IDLE, SYNC, BUSY, DNLOAD_IDLE, MANIFEST_SYNC, MANIFEST, UPLOAD_IDLE, ERROR = 2, 3, 4, 5, 6, 7, 9, 10


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@dataclass
class Rom:
    """Scripted by its fields; ``log`` holds (name, value, data or length) of every transfer."""

    rom_id: int = 0x92
    transfer_size: int = 1024
    protected: bool = False
    write_protected: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    unplug_at: int | None = None
    unplug_flavour: str = "before"
    stuck_after_erase_of: set[int] = field(default_factory=set)
    stuck_erase_does_nothing: bool = False
    hides_rom_id: bool = False
    mute_after: int | None = None
    erase_seconds: float = 0.9
    announced_poll_ms: int = 1000
    erase_takes_polls: int = 0
    erase_status: int = 0
    vanishes_while_leaving: bool = False
    log: list[tuple[str, int, bytes | int]] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    written: list[tuple[int, int]] = field(default_factory=list)
    left_to: int | None = None

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.flash = bytearray(b"\xff" * len(FLASH))
        self.programmed: set[int] = set()
        self.state, self.status, self.pointer = IDLE, 0, FLASH.start
        self.pending: tuple[str, int, bytes] | None = None
        self.busy_polls = 0
        self.stuck_until: float | None = None
        self.closed = 0

    # -- back doors ---------------------------------------------------------------------------

    def put(self, address: int, data: bytes) -> None:
        """Content as earlier programs left it."""
        at = address - FLASH.start
        self.flash[at : at + len(data)] = data
        for word in range(address - address % FLASH_WORD, address + len(data), FLASH_WORD):
            self.programmed.add(word)

    def get(self, address: int, size: int) -> bytes:
        return bytes(self.flash[address - FLASH.start : address - FLASH.start + size])

    def plug_in(self) -> Rom:
        """A new connection: flash stays, everything else starts over."""
        self.unplug_at = self.mute_after = None
        self.state, self.status, self.pending = IDLE, 0, None
        self.busy_polls, self.stuck_until = 0, None
        self.log, self.erased, self.written = [], [], []
        return self

    def client(self) -> DfuSe:
        return DfuSe(
            self,
            self.clock,
            memory_map=parse_memory_map(MAP),
            transfer_size=self.transfer_size,
            where="usb:1-1",
        )

    def count(self, name: str) -> int:
        return sum(entry[0] == name for entry in self.log)

    # -- the pipe -----------------------------------------------------------------------------

    def close(self) -> None:
        self.closed += 1

    def ctrl_transfer(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | int,
        timeout_ms: int,
    ) -> bytes:
        names = {1: "DNLOAD", 2: "UPLOAD", 3: "GETSTATUS", 4: "CLRSTATUS", 6: "ABORT"}
        name = names[request]
        assert request_type == (0xA1 if name in ("UPLOAD", "GETSTATUS") else 0x21)
        assert index == 0
        self.log.append((name, value, data_or_length))
        self.clock.now += 0.001
        if self.unplug_at is not None and len(self.log) >= self.unplug_at:
            if len(self.log) == self.unplug_at and name == "GETSTATUS" and self.state == SYNC:
                self._die()
            raise GoneError("usb:1-1", "the device left the bus")
        if self.left_to is not None:
            raise GoneError("usb:1-1", "the device left the bus")
        if self.mute_after is not None and len(self.log) > self.mute_after:
            self.clock.now += timeout_ms / 1000
            raise DeviceTimeoutError("usb:1-1", "no answer in time")
        if name == "DNLOAD":
            assert isinstance(data_or_length, bytes)
            return self._download(value, data_or_length)
        if name == "UPLOAD":
            assert isinstance(data_or_length, int)
            return self._upload(value, data_or_length)
        if name == "GETSTATUS":
            assert timeout_ms >= 10_000
            return self._get_status()
        if name == "CLRSTATUS":
            self._clear()
        else:
            self._need(IDLE, DNLOAD_IDLE, UPLOAD_IDLE)
            self.state = IDLE
        return b""

    def _need(self, *states: int) -> None:
        if self.state not in states:
            raise self._stall(15)

    def _stall(self, status: int) -> StalledError:
        self.state, self.status = ERROR, status
        return StalledError("usb:1-1", "stall")

    def _clear(self) -> None:
        if self.state == BUSY:
            assert self.clock.now >= (self.stuck_until or 1e9), "too early"
            self.stuck_until = None
            self.state, self.status = ERROR, 14
        else:
            self.state, self.status = IDLE, 0

    def _download(self, value: int, data: bytes) -> bytes:
        self._need(IDLE, DNLOAD_IDLE)
        if not data:
            self.state = MANIFEST_SYNC
            return b""
        assert value != 1
        if value == 0:
            assert (data[0] in (0x21, 0x41), len(data)) == (True, 5), f"command {data.hex()}"
            kind = "address" if data[0] == 0x21 else "erase"
            self.pending = (kind, int.from_bytes(data[1:], "little"), b"")
        else:
            assert 2 <= len(data) <= 2048
            full = len(data) == self.transfer_size
            assert full or value == 2, "a short block above number 2 may land anywhere"
            self.pending = ("write", self.pointer + (value - 2) * self.transfer_size, data)
        self.state = SYNC
        return b""

    def _get_status(self) -> bytes:
        poll = 0
        if self.state == SYNC:
            poll = self._execute()
        elif self.state == BUSY and self.stuck_until is None:
            if self.busy_polls:
                self.busy_polls, poll = self.busy_polls - 1, self.announced_poll_ms
            else:
                self.state = ERROR if self.status else DNLOAD_IDLE
        elif self.state == BUSY:
            poll = self.announced_poll_ms
        elif self.state == MANIFEST_SYNC:
            self.left_to = self.pointer
            if self.vanishes_while_leaving:
                raise GoneError("usb:1-1", "the device left the bus")
            self.state = MANIFEST
        return bytes([self.status]) + poll.to_bytes(3, "little") + bytes([self.state, 0])

    def _execute(self) -> int:
        assert self.pending
        kind, address, data = self.pending
        self.state = BUSY
        if kind == "address":
            if address not in FLASH and not 0x1FF00000 <= address < 0x1FF20000:
                self.status = 1
            self.pointer = address
            return 0
        if self.protected:
            self.status = 11
            return 0
        if kind == "write":
            self._write(address, data)
            return 1
        self._erase(address - address % SECTOR_SIZE)
        return self.announced_poll_ms

    def _die(self) -> None:
        """The power goes while a command executes: not begun, half done, or just done."""
        assert self.pending
        kind, address, data = self.pending
        if self.unplug_flavour == "after":
            self._execute()
        elif self.unplug_flavour == "torn" and kind == "write":
            half = len(data) // 2 - len(data) // 2 % FLASH_WORD
            self._write(address, data[: half + FLASH_WORD])
            self.unreadable.add(address + half)
        elif self.unplug_flavour == "torn" and kind == "erase":
            sector = address - address % SECTOR_SIZE
            self.erased.append(sector)
            self.put(sector + SECTOR_SIZE // 2, b"\x5a" * 64)
            self.unreadable.add(sector + 4096)

    def _erase(self, sector: int) -> None:
        assert sector in FLASH
        self.erased.append(sector)
        self.busy_polls, self.status = self.erase_takes_polls, self.erase_status
        self.clock.now += self.erase_seconds
        if sector in self.stuck_after_erase_of:
            self.stuck_until = self.clock.now + self.announced_poll_ms / 1000
            if self.stuck_erase_does_nothing:
                return
        if sector in self.write_protected:
            return
        at = sector - FLASH.start
        self.flash[at : at + SECTOR_SIZE] = b"\xff" * SECTOR_SIZE
        gone = range(sector, sector + SECTOR_SIZE)
        self.programmed = {word for word in self.programmed if word not in gone}
        self.unreadable = {word for word in self.unreadable if word not in gone}

    def _write(self, address: int, data: bytes) -> None:
        assert address in FLASH
        assert address + len(data) - 1 in FLASH
        assert address % FLASH_WORD == 0
        assert len(data) % FLASH_WORD == 0
        self.written.append((address, len(data)))
        if address - address % SECTOR_SIZE in self.write_protected:
            return
        for word in range(address, address + len(data), FLASH_WORD):
            assert word not in self.programmed, f"flash word 0x{word:08X} programmed twice"
        self.put(address, data)

    def _upload(self, value: int, length: int) -> bytes:
        self._need(IDLE, UPLOAD_IDLE)
        if self.protected:
            raise self._stall(11)
        full = length == self.transfer_size
        assert full or value == 2, "a short block above number 2 may come from anywhere"
        address = self.pointer + (value - 2) * self.transfer_size
        if address == ROM_ID:
            if self.hides_rom_id:
                raise self._stall(1)
            self.state = UPLOAD_IDLE
            return bytes([self.rom_id, 0])[:length]
        assert address in FLASH
        assert address + length - 1 in FLASH
        words = range(address - address % FLASH_WORD, address + length, FLASH_WORD)
        if any(word in self.unreadable for word in words):
            raise self._stall(14)
        self.state = UPLOAD_IDLE
        return self.get(address, length)
