"""Control transfers nobody meant: random, mutated and cut short, against the shipped loader on USB.

Promises to find: a device that does not answer, a flash operation outside staging, a byte of the
keys or the application on the wire. ``python -m door.otg_fuzz COUNT [SEED]`` (from the folder
``tests``) runs as many as wanted and prints what it counted.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from packager.keys import load_device_keys
from packager.sim.board import Board, Outcome
from packager.sim.core_usb import ADDRESS, CoreUsb
from packager.sim.operations import FlashOp
from packager.sim.usb import Gone, Hung, Stall

from .otg_scene import (
    ABORT,
    AT_ONCE,
    BUSY,
    CLRSTATUS,
    DNLOAD,
    ERROR,
    GETSTATE,
    GETSTATUS,
    IN,
    OUT,
    SYNC,
    UPLOAD,
    Product,
    device_of,
)

_LENGTHS = (0, 1, 2, 5, 6, 7, 8, 31, 32, 33, 63, 64, 65, 127, 128, 512, 1023, 1024, 1025, 2048)
_VALUES = (0, 1, 2, 3, 4, 7, 255, 256, 512, 895, 896, 897, 0x7FFF, 0x8000, 0xFFFF)
_REQUESTS = (DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, GETSTATE, ABORT)
_WINDOW = 16


class Fuzz:
    """One seed against one product."""

    def __init__(self, product: Product, seed: int) -> None:
        self.product = product
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.board = product.board(1)
        loader, staging = product.layout.loader, product.layout.staging
        self.addresses = (
            *(staging.start, staging.start + 32, staging.end - 1024, staging.end - 32),
            *(staging.end, staging.start - 32, loader.start, loader.start + 0x400),
            *(product.layout.app.start, product.layout.marks.start, 0x5200_201C, 0x2000_0000),
            *(0xFFFF_FFFF, 0xFFFF_FF00, 0, 0x1FF0_0000, 0x07FF_FFFF),
        )
        self.keys = [key.secret for key in load_device_keys(product.shop.keys)]
        self.device: CoreUsb | None = None
        self._is_watched = False

    # -- rules ------------------------------------------------------------------------------------

    def _on_operation(self, op: FlashOp, board: Board) -> None:
        """No flash operation outside staging while a host talks to the loader."""
        staging = self.product.layout.staging
        if self._is_watched:
            assert staging.contains(op.address, op.size), op
            assert op.virgin, op
            self.counts[f"flash operations: {op.kind}"] += 1

    def _look_at(self, answer: bytes) -> None:
        for key in self.keys:
            assert key[:_WINDOW] not in answer
            assert key[_WINDOW:] not in answer
        head = answer[:_WINDOW]
        if len(head) == _WINDOW and len(set(head)) > 4:
            assert head not in self.product.old, head.hex()

    # -- running ----------------------------------------------------------------------------------

    def run(self, count: int) -> None:
        """Do ``count`` transfers; raises on the first broken rule."""
        before = self.product.outside(self.board)
        while self.counts["transfers"] < count:
            device = self._device()
            begun = device.transfers
            try:
                self._one(device)
            except Stall:
                self.counts["stalled"] += 1
            except Gone:
                self._left(device)
            self.counts["transfers"] += device.transfers - begun
            if self.rng.random() < 0.3:
                self.board.clock.sleep(self.rng.choice((1e-5, 1e-3, 0.05, 1.2)))
        self._device().control(IN, GETSTATUS, 0, 0, 6)
        assert self.product.outside(self.board) == before
        assert self.board.flash.options.rdp_level == 1

    def _device(self) -> CoreUsb:
        if self.device is None or not self.device.is_on_bus:
            self._left(self.device)
            self._is_watched = False
            self.board.boot(app_seconds=AT_ONCE, strict=False, on_operation=self._on_operation)
            assert self.board.press_reset().outcome is Outcome.STAYS_IN_DFU
            self.device, self._is_watched = device_of(self.board), True
        return self.device

    def _left(self, device: CoreUsb | None) -> None:
        """The only way off the bus is a leave, by a reset."""
        if device is None or self.device is None:
            return
        self.device, self._is_watched = None, False
        report = self.board.go_on(app_seconds=AT_ONCE)
        assert report.resets == ["reset"], report
        self.counts["left"] += 1
        staging = self.product.layout.staging  # it may not boot if this looks like an update
        assert self.board.read(staging.start, 8) != b"SPLTFLSH"

    # -- transfers --------------------------------------------------------------------------------

    def _one(self, device: CoreUsb) -> None:
        kind = self.rng.random()
        if kind < 0.5:
            self._sensible(device)
        elif kind < 0.8:
            self._control(device, *self._mutated())
        elif kind < 0.9:
            any_byte = self.rng.randrange
            self._control(
                device,
                any_byte(256),
                any_byte(256),
                any_byte(65536),
                self.rng.choice((0, 0, any_byte(65536))),
                self.rng.choice(_LENGTHS),
            )
        elif kind < 0.99:
            self._packets(device)
        else:
            device.reset()

    def _control(
        self, device: CoreUsb, kind: int, request: int, value: int, index: int, length: int
    ) -> None:
        if kind & 0x60 == 0 and request == 5:
            value = ADDRESS  # at another one it would rightly not be found
        data: int | bytes = length
        if not kind & 0x80:
            data = self._data(length)
        answer = device.control(kind, request, value, index, data)
        self._look_at(answer)

    def _data(self, length: int) -> bytes:
        kind = self.rng.random()
        if kind < 0.4:
            command = self.rng.choice((0x21, 0x21, 0x41, 0x92, 0x00, self.rng.randrange(256)))
            address = self.rng.choice(self.addresses) + self.rng.choice((0, 0, 0, 1, 2, 32))
            data = bytes((command,)) + (address & 0xFFFF_FFFF).to_bytes(4, "little")
            return data.ljust(length, b"\0")[:length]
        return self.rng.randbytes(length) if kind < 0.8 else b"\xff" * length

    def _sensible(self, device: CoreUsb) -> None:
        """What a host would do, so that all states are reached and things are written."""
        step = self.rng.random()
        if step < 0.25:
            device.control(IN, GETSTATUS, 0, 0, 6)
        elif step < 0.65:
            self._come_back(device)
        elif step < 0.75:
            code = 0x41 if self.rng.random() < 0.1 else 0x21
            self._command(device, code, self.rng.choice(self.addresses))
        elif step < 0.9:
            self._come_back(device)
            staging = self.product.layout.staging
            if self.rng.random() < 0.03:
                self._command(device, 0x41, staging.start + self.rng.randrange(staging.size))
                self._come_back(device)
            self._command(device, 0x21, staging.start + self.rng.randrange(0, staging.size, 32))
            data = self._data(self.rng.choice(_LENGTHS[1:]))
            device.control(OUT, DNLOAD, self.rng.choice((2, 2, 2, 3, 4, 255)), 0, data)
            if self.rng.random() < 0.8:
                device.control(IN, GETSTATUS, 0, 0, 6)
        else:
            value, length = self.rng.choice(_VALUES), self.rng.choice(_LENGTHS)
            self._look_at(device.control(IN, UPLOAD, value, 0, length))

    def _come_back(self, device: CoreUsb) -> None:
        """Out of whatever state it is in."""
        reply = device.control(IN, GETSTATUS, 0, 0, 6)
        if reply[4] in (SYNC, BUSY):
            self.board.clock.sleep(int.from_bytes(reply[1:4], "little") / 1000)
        elif reply[4] == ERROR:
            device.control(OUT, CLRSTATUS, 0, 0, b"")
        elif self.rng.random() < 0.3:
            device.control(OUT, ABORT, 0, 0, b"")

    def _command(self, device: CoreUsb, code: int, address: int) -> None:
        device.control(OUT, DNLOAD, 0, 0, bytes((code,)) + address.to_bytes(4, "little"))
        for _ in range(self.rng.choice((0, 1, 2, 2))):
            device.control(IN, GETSTATUS, 0, 0, 6)

    def _mutated(self) -> tuple[int, int, int, int, int]:
        kind = self.rng.choice((OUT, IN, 0x00, 0x80, 0x01, 0x81, 0xC0, 0x40))
        request = self.rng.choice(_REQUESTS) if kind in (OUT, IN) else self.rng.randrange(14)
        value, length = self.rng.choice(_VALUES), self.rng.choice(_LENGTHS)
        if request == 6 and kind & 0x60 == 0:
            value = self.rng.randrange(16) << 8 | self.rng.randrange(8)
        index = self.rng.choice((0, 0, 0, 0, 0, 1, 7, 0x0409, 0xFFFF))
        return kind, request, value, index, length

    def _packets(self, device: CoreUsb) -> None:
        """Transfers that a host does not finish."""
        patience, device.patience = device.patience, 0.02
        kind, request, value, index, length = self._mutated()
        if kind == 0x00 and request == 5:
            value = ADDRESS  # at another one it would rightly not be found
        setup = bytes((kind, request)) + b"".join(
            number.to_bytes(2, "little") for number in (value, index, length)
        )
        try:
            for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
                device.setup(setup)
            device.transfers += 1
            for _ in range(self.rng.randrange(4)):
                if self.rng.random() < 0.5:
                    device.out(self._data(self.rng.choice((0, 1, 8, 63, 64))))
                else:
                    self._look_at(device.in_())
            if self.rng.random() < 0.1:
                device.bus_reset()
                device.reset()
        except Hung:
            self.counts["cut short"] += 1
        finally:
            device.patience = patience


def main() -> None:
    """Run from the command line."""
    import workshop

    count = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        layout = workshop.layout_named("h743_protected")
        shop = workshop.make_workshop(Path(folder), layout, workshop.toolchain.installed()[0])
        fuzz = Fuzz(Product(shop), seed)
        began = time.monotonic()
        fuzz.run(count)
    for name, number in sorted(fuzz.counts.items()):
        sys.stdout.write(f"{name}: {number}\n")
    sys.stdout.write(f"seconds: {time.monotonic() - began:.0f}\n")


if __name__ == "__main__":
    main()
