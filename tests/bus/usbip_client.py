"""The host's end of USB/IP, enough to drive a device: written from the kernel's document.

It shares nothing with the server, so a misreading shows as disagreement.
"""

from __future__ import annotations

import errno
import socket
import struct

from packager.dfu.pipe import GoneError, StalledError
from packager.errors import DeviceTimeoutError

TIMEOUT = 20.0
"""Real seconds without an answer; a test that waits this long has found a hang."""


def request_list(address: tuple[str, int]) -> bytes:
    """Ask for the devices; return all that comes back."""
    with socket.create_connection(address, TIMEOUT) as wire:
        wire.sendall(bytes.fromhex("0111 8005 00000000"))
        return _rest(wire)


def _rest(wire: socket.socket) -> bytes:
    got = b""
    while piece := wire.recv(4096):
        got += piece
    return got


class Attached:
    """One import; a pipe in the sense of :class:`packager.dfu.pipe.ControlPipe`."""

    def __init__(self, address: tuple[str, int], bus_id: bytes = b"1-1") -> None:
        self.wire = socket.create_connection(address, TIMEOUT)
        self.wire.sendall(bytes.fromhex("0111 8003 00000000") + bus_id.ljust(32, b"\0"))
        version, code, self.status = struct.unpack(">HHI", self._take(8))
        assert (version, code) == (0x0111, 0x0003)
        self.sequence = 0
        self.device_id = 0
        if self.status == 0:
            self.device = self._take(312)
            bus, number = struct.unpack_from(">II", self.device, 288)
            self.device_id = bus << 16 | number

    def close(self) -> None:
        """Pull the cable."""
        self.wire.close()

    def submit(self, setup: bytes, data: bytes | int) -> tuple[int, bytes]:
        """Send a control URB and wait for it; return its status and what came in."""
        self.send(setup, data)
        return self.answer(incoming=isinstance(data, int))

    def send(self, setup: bytes, data: bytes | int, endpoint: int = 0) -> int:
        """Send a control URB; return its sequence number."""
        self.sequence += 1
        incoming = isinstance(data, int)
        size = data if isinstance(data, int) else len(data)
        head = struct.pack(">5I", 1, self.sequence, self.device_id, int(incoming), endpoint)
        body = struct.pack(">IiiiI", 0x200 if incoming else 0, size, 0, 0, 0)
        self.wire.sendall(head + body + setup + (b"" if isinstance(data, int) else data))
        return self.sequence

    def unlink(self, sequence: int) -> int:
        """Take a URB back; return the status."""
        self.sequence += 1
        head = struct.pack(">5I", 2, self.sequence, self.device_id, 0, 0)
        self.wire.sendall(head + struct.pack(">I", sequence) + bytes(24))
        code, answered, status = self._reply_head()
        assert (code, answered) == (4, self.sequence)
        return status

    def answer(self, *, incoming: bool) -> tuple[int, bytes]:
        """Wait for the answer to the last URB."""
        code, answered, status = self._reply_head()
        assert (code, answered) == (3, self.sequence)
        actual = int.from_bytes(self._reply[24:28], "big")
        return status, self._take(actual) if incoming else b""

    def _reply_head(self) -> tuple[int, int, int]:
        self._reply = self._take(48)
        code, sequence, _, _, _, status = struct.unpack_from(">5Ii", self._reply)
        return code, sequence, status

    def _take(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = self.wire.recv(size - len(got))
            if not piece:
                raise ConnectionResetError
            got += piece
        return got

    def ctrl_transfer(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | int,
        timeout_ms: int,
    ) -> bytes:
        """Do one control transfer as the client wants it."""
        size = data_or_length if isinstance(data_or_length, int) else len(data_or_length)
        setup = struct.pack("<BBHHH", request_type, request, value, index, size)
        try:
            status, data = self.submit(setup, data_or_length)
        except TimeoutError:
            raise DeviceTimeoutError("USB/IP", "no answer in time") from None
        except OSError:
            raise GoneError("USB/IP", "the device left the bus") from None
        if status == -errno.EPIPE:
            raise StalledError("USB/IP", "the device refused a request")
        if status:
            raise GoneError("USB/IP", f"URB status {status}")
        return data
