"""The ioctls of a usbfs device node, answered by a device's ``control`` (linux/usbdevice_fs.h)."""

from __future__ import annotations

import errno
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from packager.sim.usb import Gone, Hung, Stall, UsbDevice

from .recorder import Recorder

IDLE_SECONDS = 0.25
"""Virtual seconds that pass when a program looks whether a device that hangs has answered."""
KERNEL_TIMEOUT = 5.0
"""Virtual seconds the kernel waits for an answer to what it sends by itself."""

SUBMITURB, DISCARDURB = 0x8038550A, 0x550B
REAPURB, REAPURBNDELAY = 0x4008550C, 0x4008550D
CLAIM, RELEASE, DISCONNECT_CLAIM = 0x8004550F, 0x80045510, 0x8108551B
SETINTERFACE, SETCONFIGURATION = 0x80085504, 0x80045505
GETDRIVER, GET_CAPABILITIES = 0x41045508, 0x8004551A
RESET, CLEAR_HALT = 0x5514, 0x80045515

_URB = 56
_CONTROL = 2
_DISCARDED = -errno.ENOENT


@dataclass
class Node:
    """One enumeration of a board; it stays dead once its device left."""

    device: UsbDevice
    recorder: Recorder
    place: str
    """Its folder in sysfs."""
    name: str
    """Its device node."""
    seen: float
    """Until when, in seconds of the programs, time has passed for the board."""
    done: deque[Any] = field(default_factory=deque)
    waiting: dict[int, Any] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop what a program that died has not fetched."""
        self.done.clear()
        self.waiting.clear()


class Bus(Protocol):
    """What carries a transfer to the device."""

    def control(self, node: Node, setup: bytes, data: bytes) -> bytes:
        """Do one control transfer in virtual time."""
        ...

    def let_pass(self, seconds: float) -> None:
        """Let virtual time pass while nothing happens."""
        ...

    def failed(self, error: BaseException) -> None:
        """Take an error of ours, which must not be taken for one of the device."""
        ...


def handler_class(umockdev: Any, bus: Bus) -> Any:
    """Return the class that answers for a node; umockdev is there at run time only."""

    class Handler(umockdev.IoctlBase):  # type: ignore[misc]
        """Answers the ioctls of one device node as usbfs does."""

        def __init__(self, node: Node) -> None:
            super().__init__()
            self._node = node

        def do_handle_ioctl(self, client: Any) -> bool:
            try:
                result, error = self._answer(client.get_request() & 0xFFFFFFFF, client.get_arg())
            except BaseException as failure:
                bus.failed(failure)
                result, error = -1, errno.EIO
            client.complete(result, error)
            return True

        def _answer(self, request: int, arg: Any) -> tuple[int, int]:
            node = self._node
            if request in (REAPURB, REAPURBNDELAY):
                return self._reap(arg)
            if request == DISCARDURB:
                return self._discard(arg)
            if not node.device.is_on_bus:
                return -1, errno.ENODEV
            if request == SUBMITURB:
                return self._submit(arg)
            if request in (CLAIM, RELEASE, DISCONNECT_CLAIM, CLEAR_HALT, SETCONFIGURATION):
                return 0, 0
            if request == SETINTERFACE:
                interface, alternate = struct.unpack("<II", _bytes(arg.resolve(0, 8)))
                return self._quick(struct.pack("<BBHHH", 1, 11, alternate, interface, 0))
            if request == GET_CAPABILITIES:
                arg.resolve(0, 4).update(0, [0, 0, 0, 0])
                return 0, 0
            if request == RESET:
                node.recorder.reset()
                node.device.reset()
                return 0, 0
            if request == GETDRIVER:
                return -1, errno.ENODATA
            return -1, errno.ENOTTY

        def _quick(self, setup: bytes) -> tuple[int, int]:
            try:
                bus.control(self._node, setup, b"")
            except Stall:
                return -1, errno.EPIPE
            except Gone:
                return -1, errno.ENODEV
            except Hung:
                bus.let_pass(KERNEL_TIMEOUT)
                return -1, errno.ETIMEDOUT
            return 0, 0

        def _submit(self, arg: Any) -> tuple[int, int]:
            urb = arg.resolve(0, _URB)
            raw = _bytes(urb)
            length = int.from_bytes(raw[24:28], "little")
            if raw[0] != _CONTROL or length < 8:
                return -1, errno.EINVAL
            buffer = urb.resolve(16, length)
            content = _bytes(buffer)
            setup, data = content[:8], content[8:]
            try:
                answer = bus.control(self._node, setup, data)
            except Stall:
                self._finish(urb, -errno.EPIPE, 0)
            except Gone:
                return -1, errno.ENODEV
            except Hung:
                self._node.waiting[_key(raw)] = urb  # until the program gives up
            else:
                if setup[0] & 0x80:
                    if answer:
                        buffer.update(8, list(answer))
                    self._finish(urb, 0, len(answer))
                else:
                    self._finish(urb, 0, len(data))
            return 0, 0

        def _finish(self, urb: Any, status: int, actual: int) -> None:
            urb.update(4, list(struct.pack("<i", status)))
            urb.update(28, list(struct.pack("<i", actual)))
            self._node.done.append(urb)

        def _reap(self, arg: Any) -> tuple[int, int]:
            if self._node.done:
                arg.resolve(0, 8).set_ptr(0, self._node.done.popleft())
                return 0, 0
            if not self._node.device.is_on_bus:
                return -1, errno.ENODEV
            if self._node.waiting:
                bus.let_pass(IDLE_SECONDS)
            return -1, errno.EAGAIN

        def _discard(self, arg: Any) -> tuple[int, int]:
            urb = self._node.waiting.pop(_key(_bytes(arg.resolve(0, _URB))), None)
            if urb is None:
                return -1, errno.EINVAL
            self._finish(urb, _DISCARDED, 0)
            return 0, 0

    return Handler


def _key(urb: bytes) -> int:
    """Return the address of an urb's buffer, which tells the urbs of a program apart."""
    return int.from_bytes(urb[16:24], "little")


def _bytes(data: Any) -> bytes:
    return bytes(data.retrieve())
