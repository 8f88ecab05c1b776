"""A usbfs and a sysfs with virtual boards on them, for programs that know nothing of us.

Promises: what the program on the other side is, and its libusb, are the stock ones; the device is
whatever the board has on the bus, its ROM model or the program on its core, reached by its one
method ``control``; every program run here lives in the virtual time of the board, has a deadline
there, and a limit in real seconds.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packager.sim.board import Board

from . import udev
from .recorder import Recorder
from .usbfs import Node, handler_class

PRELOAD = "libumockdev-preload.so.0"
DISTRIBUTION_PACKAGES = Path("/usr/lib/python3/dist-packages")
BUS = 1
REAL_SECONDS = 60.0
"""A program that takes longer than this is killed, and the test fails."""
VIRTUAL_DEADLINE = 600.0
"""Virtual seconds after which a person would pull the cable, and we do."""
HOST = "/sys/devices/pci0000:00/0000:00:14.0/usb1"

_ROOT_HUB = bytes.fromhex(
    "12010002090001406b1d020006060302010109021900010100e0000904000001090000000705810304000c"
)


class BusMissing(Exception):
    """Something that a mocked bus needs is not installed."""


@dataclass
class Ended:
    """How a program ended."""

    code: int
    out: str
    virtual_seconds: float
    cable_pulled: bool
    """It was still busy with the device at its deadline, so the cable was pulled."""


def introspection(folder: Path) -> Any:
    """Import gi, which only the distribution has, without the rest of its packages."""
    if find_spec("gi") is None:
        link = folder / "gi-only" / "gi"
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(DISTRIBUTION_PACKAGES / "gi")
        sys.path.append(str(link.parent))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import gi

            gi.require_version("UMockdev", "1.0")
            from gi.repository import GLib, UMockdev
        except (ImportError, ValueError) as error:
            raise BusMissing(f"umockdev with Python introspection: {error}") from error
    return GLib, UMockdev


class _Ahead(ctypes.Structure):
    """Nanoseconds by which virtual time is ahead of the real clock; see virtual_time.c."""

    _fields_ = (("slept", ctypes.c_int64), ("worked", ctypes.c_int64))

    @property
    def seconds(self) -> float:
        return float(self.slept + self.worked) / 1e9


class MockedBus:
    """USB bus 1 with a board on some of its ports."""

    def __init__(self, folder: Path, virtual_time: Path) -> None:
        self._glib, umockdev = introspection(folder)
        self._testbed = umockdev.Testbed.new()
        # the constructor puts this into the environment of everything else we start
        self.root = Path(os.environ.pop("UMOCKDEV_DIR", self._testbed.get_root_dir()))
        self._virtual_time = virtual_time
        self._time_file = folder / "virtual-time"
        self._time_file.write_bytes(bytes(mmap.PAGESIZE))
        with self._time_file.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self._ahead = _Ahead.from_buffer(self._page)
        self._nodes: dict[int, Node] = {}
        self._address = 1
        self._testbed.add_from_string(_description(HOST, "0", 1, (0x1D6B, 0x0002), _ROOT_HUB))
        self._deadline: float | None = None
        self.cable_pulled = False
        self._errors: list[BaseException] = []
        self._handler_class = handler_class(umockdev, self)
        self._loop = self._glib.MainLoop()
        self._thread = threading.Thread(target=self._loop.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread that answers."""
        for port in list(self._nodes):
            self.unplug(port)
        self._loop.quit()
        self._thread.join(5)

    # -- sockets ----------------------------------------------------------------------------------

    def plug(self, board: Board, port: int = 1, *, announce: bool = False) -> Recorder:
        """Connect a board that has a device; return what will be recorded of it."""
        device = board.device
        assert device is not None, "the board is neither in its ROM nor in its loader's DFU"
        self._address = self._address + 1 if self._address < 127 else 2  # 1 is the hub
        place = f"{HOST}/{BUS}-{port}"
        name = f"/dev/bus/usb/{BUS:03}/{self._address:03}"
        node = Node(device, Recorder(device.clock), place, name, self._ahead.seconds)
        about = device.descriptors
        descriptors = about.device + about.configuration
        self._testbed.add_from_string(
            _description(place, str(port), self._address, about.ids, descriptors)
        )
        self._testbed.attach_ioctl(name, self._handler_class(node))
        self._nodes[port] = node
        if announce:
            self._announce(node)
        return node.recorder

    def unplug(self, port: int = 1) -> None:
        """Pull a board's cable; the board goes on."""
        node = self._nodes.pop(port)
        self._testbed.detach_ioctl(node.name)
        self._testbed.remove_device(node.place)
        (self.root / node.name.lstrip("/")).unlink(missing_ok=True)

    @contextmanager
    def with_board(self, board: Board, port: int = 1) -> Iterator[Recorder]:
        """Have a board plugged in for a while."""
        recorder = self.plug(board, port)
        try:
            yield recorder
        finally:
            self.unplug(port)

    def device_node(self, port: int = 1) -> Path:
        """Return the real file behind the device node."""
        return self.root / self._nodes[port].name.lstrip("/")

    def wait_for_listener(self) -> None:
        """Wait until a program listens for devices that come and go."""
        end = time.monotonic() + REAL_SECONDS
        while not any(self.root.glob("event[0-9]*")):
            assert time.monotonic() < end, "no program listens"
            time.sleep(0.01)

    def _announce(self, node: Node) -> None:
        """Tell whoever listens to udev that a device came."""
        told = udev.message(
            {
                "ACTION": "add",
                "DEVPATH": node.place.removeprefix("/sys"),
                "SUBSYSTEM": "usb",
                "DEVTYPE": "usb_device",
                "DEVNAME": node.name,
                "BUSNUM": f"{BUS:03}",
                "DEVNUM": node.name.rsplit("/", 1)[1],
                "SEQNUM": "1",
            }
        )
        for listener in self.root.glob("event[0-9]*"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_RAW) as sender:
                sender.sendto(told, str(listener))

    # -- programs ---------------------------------------------------------------------------------

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment in which a program sees this bus and no other."""
        return {
            **os.environ,
            "UMOCKDEV_DIR": str(self.root),
            "LD_PRELOAD": f"{self._virtual_time}:{PRELOAD}",
            "VIRTUAL_TIME": str(self._time_file),
            **(extra or {}),
        }

    def run(
        self,
        command: Sequence[str | Path],
        *,
        deadline: float = VIRTUAL_DEADLINE,
        extra: Mapping[str, str] | None = None,
        meanwhile: Callable[[], None] | None = None,
        cwd: Path | None = None,
    ) -> Ended:
        """Run a program on this bus until it ends; pull every cable at its deadline."""
        for left_over in self.root.glob("event[0-9]*"):
            left_over.unlink()
        for node in self._nodes.values():
            node.forget()
        began = self._ahead.seconds
        self._deadline, self.cable_pulled = began + deadline, False
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self.environment(extra),
            cwd=cwd,
        )
        try:
            if meanwhile:
                meanwhile()
            out, _ = process.communicate(timeout=REAL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
            self._deadline = None
        if self._errors:
            raise self._errors.pop()
        spent = self._ahead.seconds - began
        return Ended(process.returncode, out, spent, self.cable_pulled)

    # -- transfers --------------------------------------------------------------------------------

    def let_pass(self, seconds: float) -> None:
        """Let virtual time pass while nothing happens."""
        self._ahead.worked += int(seconds * 1e9)

    def failed(self, error: BaseException) -> None:
        """Keep an error of ours for the test that runs."""
        self._errors.append(error)

    def control(self, node: Node, setup: bytes, data: bytes) -> bytes:
        """Do one control transfer in virtual time."""
        clock = node.device.clock
        now = self._ahead.seconds
        clock.sleep(now - node.seen)
        if self._deadline is not None and now > self._deadline and node.device.is_on_bus:
            self.cable_pulled = True
            node.device.drop()
        began = clock.now
        try:
            return node.recorder.control(node.device.control, setup, data)
        finally:
            self.let_pass(clock.now - began)
            node.seen = now + clock.now - began


def _description(
    place: str, port: str, address: int, ids: tuple[int, int], descriptors: bytes
) -> str:
    """Describe a device for umockdev."""
    lines = [
        f"P: {place.removeprefix('/sys')}",
        f"N: bus/usb/{BUS:03}/{address:03}",
        "E: SUBSYSTEM=usb",
        "E: DEVTYPE=usb_device",
        f"E: DEVNAME=/dev/bus/usb/{BUS:03}/{address:03}",
        f"E: BUSNUM={BUS:03}",
        f"E: DEVNUM={address:03}",
        "E: MAJOR=189",
        f"E: MINOR={address - 1}",
        f"A: busnum={BUS}",
        f"A: devnum={address}",
        f"A: devpath={port}",
        "A: speed=12",
        "A: bConfigurationValue=1",
        "A: bNumConfigurations=1",
        f"A: idVendor={ids[0]:04x}",
        f"A: idProduct={ids[1]:04x}",
        f"H: descriptors={descriptors.hex()}",
    ]
    return "\n".join(lines) + "\n\n"
