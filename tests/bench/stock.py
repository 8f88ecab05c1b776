"""What dfu-util 0.11 does to a device, transfer by transfer, with the pauses that it makes.

Its raw download: it erases every sector the file touches, the first at the start address; then for
each chunk Set Address and block number 2; after each it asks for the status, sleeps for as long as
the device announced, and asks again until the device is no longer busy. It reads nothing back. A
test compares these transfers with those recorded from the real program.
"""

from __future__ import annotations

from collections.abc import Callable

from packager.chip import SECTOR_SIZE
from packager.dfu.constants import REQUEST_IN, REQUEST_OUT, Command, Request, State

Control = Callable[[int, int, int, int, "bytes | int"], bytes]
Sleep = Callable[[float], None]

CHUNK = 1024
GET_DESCRIPTOR, SET_INTERFACE = 6, 11
STRINGS = ((0x0300, 0), (0x0304, 0x0409), (0x0300, 0), (0x0303, 0x0409))
"""It looks at the name of the memory and at the serial number, each after the list of languages."""


class DfuUtil:
    """One run of ``dfu-util -a 0 -s ADDRESS -D FILE``."""

    def __init__(self, control: Control, sleep: Sleep) -> None:
        self._control = control
        self._sleep = sleep

    def download(self, address: int, data: bytes) -> None:
        """Erase, then write; raises what the device raises."""
        for value, index in STRINGS:
            self._control(0x80, GET_DESCRIPTOR, value, index, 255)
        self._control(0x01, SET_INTERFACE, 0, 0, b"")
        self._status()
        first = address - address % SECTOR_SIZE
        for sector in range(first, address + len(data), SECTOR_SIZE):
            self._command(Command.ERASE, max(sector, address))
        for at in range(0, len(data), CHUNK):
            self._command(Command.SET_ADDRESS, address + at)
            self._download(2, data[at : at + CHUNK])
        self._control(REQUEST_OUT, Request.ABORT, 0, 0, b"")
        self._status()

    def _command(self, command: Command, address: int) -> None:
        self._download(0, bytes([command]) + address.to_bytes(4, "little"))

    def _download(self, block: int, data: bytes) -> None:
        self._control(REQUEST_OUT, Request.DNLOAD, block, 0, data)
        while self._status() is State.DFU_DNBUSY:
            pass

    def _status(self) -> State:
        reply = self._control(REQUEST_IN, Request.GETSTATUS, 0, 0, 6)
        assert reply[0] == 0, f"status {reply[0]}"
        self._sleep(int.from_bytes(reply[1:4], "little") / 1000)
        return State(reply[4])
