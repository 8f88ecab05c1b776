"""The door's own C files on the machine the tests run on, behind the client's control pipe."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

from packager import resources
from packager.dfu.pipe import StalledError
from packager.toolchain import WARNINGS
from tests.host.build import compiler

HERE = Path(__file__).parent
PURE = ("dfuse.c", "usb_device.c", "descriptors.c", "mem.c")
FLASH_START = 0x0800_0000
FLASH_SIZE = 0x20_0000


def build_door(out: Path, *, fuzzer: bool = False, flags: Sequence[str] = ()) -> Path:
    """Compile the door's logic and the seams that stand for the chip into a library."""
    command = compiler()
    assert command, "no C compiler for this machine"
    root = resources.loader_sources()
    own = ["door_host.c", *(["fuzz_dfuse.c"] if fuzzer else [])]
    sources = [*(root / name for name in PURE), *(HERE / name for name in own)]
    common = ["-std=c11", "-O2", "-g", "-fPIC", "-fno-strict-aliasing", "-fno-builtin"]
    include = [f"-I{folder}" for folder in (HERE, root)]
    options = [*common, *WARNINGS, *include, *flags]
    line = [*command, *options, "-shared", *map(str, sources), "-o", str(out)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


class State(ctypes.Structure):
    """``struct host_door``."""

    _fields_ = [
        (name, ctypes.c_uint32)
        for name in (
            *("broken", "erases", "last_erased", "programs", "usb_address", "busy_was_told"),
            *("turns_of_an_operation", "supply_is_low", "operations_fail", "programs_go_wrong"),
        )
    ]

    broken: int
    erases: int
    last_erased: int
    programs: int
    usb_address: int
    turns_of_an_operation: int
    supply_is_low: int
    operations_fail: int
    programs_go_wrong: int


class HostDoor:
    """One device; as :class:`packager.dfu.pipe.ControlPipe` and as its own clock."""

    def __init__(self, library: Path, info: bytes) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.host_flash.restype = ctypes.POINTER(ctypes.c_uint8)
        self._library.host_sick.restype = ctypes.POINTER(ctypes.c_uint8)
        self._library.host_state.restype = ctypes.POINTER(State)
        self._library.host_open(info)
        self.state: State = self._library.host_state().contents
        self.now = 0.0
        self.turns_per_second = 1000
        self.polls: list[int] = []
        """What GETSTATUS asked the host to wait, in milliseconds."""

    # -- as the client sees it --------------------------------------------------------------------

    def ctrl_transfer(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | int,
        timeout_ms: int,
    ) -> bytes:
        """Do one control transfer."""
        if isinstance(data_or_length, int):
            length, data = data_or_length, b""
        else:
            length, data = len(data_or_length), bytes(data_or_length)
        answer = self.control(request_type, request, value, index, length, data)
        if answer is None:
            raise StalledError("device", "STALL")
        if request == 3 and len(answer) == 6:
            self.polls.append(int.from_bytes(answer[1:4], "little"))
        return answer

    def close(self) -> None:
        """Let go of nothing."""

    def sleep(self, seconds: float) -> None:
        """Let the door work for this long."""
        self.now += seconds
        self.work(max(1, int(seconds * self.turns_per_second)))

    # -- as the tests need it ---------------------------------------------------------------------

    def control(
        self,
        request_type: int,
        request: int,
        value: int = 0,
        index: int = 0,
        length: int = 0,
        data: bytes = b"",
        *,
        arrived: int | None = None,
        finished: bool = True,
    ) -> bytes | None:
        """Return what the device answers, None for STALL."""
        buffer = (ctypes.c_uint8 * max(length, 1)).from_buffer_copy(
            data.ljust(max(length, 1), b"\0")
        )
        size = self._library.host_control(
            request_type | request << 8,
            value | index << 16,
            length,
            buffer,
            length if arrived is None else arrived,
            int(finished),
        )
        self.work(1)
        return None if size < 0 else bytes(buffer[:size])

    def work(self, turns: int) -> None:
        """Let the main loop of the door turn."""
        self._library.host_work(turns)

    def bus_reset(self) -> None:
        """Reset the bus."""
        self._library.host_bus_reset()

    @property
    def is_leaving(self) -> bool:
        """The host was told dfuMANIFEST."""
        return bool(self._library.host_is_leaving())

    def read(self, address: int, size: int) -> bytes:
        """Read flash behind the door's back."""
        at = address - FLASH_START
        return bytes(self._library.host_flash()[at : at + size])

    def put(self, address: int, data: bytes) -> None:
        """Write flash behind the door's back."""
        flash = self._library.host_flash()
        for offset, byte in enumerate(data, address - FLASH_START):
            flash[offset] = byte

    def make_sick(self, address: int, how: int) -> None:
        """Let a flash word read repaired (1) or not at all (2)."""
        self._library.host_sick()[(address - FLASH_START) // 32] = how
