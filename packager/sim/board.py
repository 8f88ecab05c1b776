"""A virtual STM32H743 board: power switch, BOOT0, debugger, USB socket, and a file to live in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from packager.chip import FLASH_WORD, SECTOR_SIZE, Chip
from packager.errors import PackagerError
from packager.sim import board_file, system_memory
from packager.sim.clock import Clock
from packager.sim.core_usb import not_running
from packager.sim.debugger import Debugger, change_level
from packager.sim.flash import Flash, FlashSnapshot
from packager.sim.flash_registers import FlashRegisters
from packager.sim.life import Insides, Life
from packager.sim.operations import Cut, FlashOp, Timing
from packager.sim.outcome import BootReport, Handover, Outcome
from packager.sim.peripherals import Peripherals
from packager.sim.pins import Pins
from packager.sim.ram import Rams
from packager.sim.rom import RomDfu
from packager.sim.rom_descriptors import ROM_VERSIONS
from packager.sim.scs import SystemControl
from packager.sim.usb import UsbDevice

if TYPE_CHECKING:
    from packager.sim.usb_backend import VirtualUsb

__all__ = ["Board", "BootReport", "Outcome"]


class Board:
    """The virtual board; flash and option bytes survive without power, the file holds them."""

    def __init__(
        self, chip: Chip, *, rom_id: int = 0x90, seed: int = 0, timing: Timing = Timing.TYPICAL
    ) -> None:
        if rom_id not in ROM_VERSIONS:
            raise PackagerError(
                f"ROM id 0x{rom_id:02X}",
                "no such bootloader",
                "expected one of " + ", ".join(f"0x{known:02X}" for known in ROM_VERSIONS),
            )
        self.chip = chip
        self.rom_id = rom_id
        self.uid = bytes.fromhex("3a0027001851333038373331")
        self.clock = Clock()
        self.flash = Flash(chip, self.clock, timing=timing, seed=seed)
        self.rams = Rams(chip)
        self.on_jump: Callable[[Handover], None] | None = None
        """Called when the application is entered, before its first instruction."""
        self.debugger_attached = False
        """A debugger seen since power-on: at RDP level 1 that closes the flash."""
        self.supply_volts: Callable[[float], float] = lambda now: 3.3
        """VDD at a virtual time, for the supply supervisor."""
        self._registers = FlashRegisters(self.flash)
        self._peripherals = Peripherals(self.clock, self._registers, ROM_VERSIONS[rom_id].revision)
        self._system = SystemControl(self.clock)
        self._inside = Insides(self._registers, self._peripherals, self._system, self._sit_in_rom)
        self._life: Life | None = None
        self._rom: RomDfu | None = None

    # -- making and keeping -----------------------------------------------------------------------

    @classmethod
    def new(
        cls, chip: Chip, *, rom_id: int = 0x90, seed: int = 0, timing: Timing = Timing.TYPICAL
    ) -> Board:
        """Return a board as it comes from the factory: blank, unprotected."""
        return cls(chip, rom_id=rom_id, seed=seed, timing=timing)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Board:
        """Return the board kept in a file."""
        kept = board_file.read(Path(path))
        board = cls(kept.chip, rom_id=kept.rom_id, seed=kept.seed, timing=kept.timing)
        board.uid = kept.uid
        board.flash.restore(kept.flash)
        return board

    def save(self, path: str | os.PathLike[str]) -> None:
        """Keep the board in a file; an older file is replaced as a whole or not at all."""
        kept = board_file.KeptBoard(
            self.chip,
            self.rom_id,
            self.flash.seed,
            self.flash.timing,
            self.uid,
            self.flash.snapshot(),
        )
        board_file.write(Path(path), kept)

    def snapshot(self) -> FlashSnapshot:
        """Return a copy of all that survives without power, for :meth:`restore`."""
        return self.flash.snapshot()

    def restore(self, snapshot: FlashSnapshot) -> None:
        """Switch off and put back a snapshot."""
        self.power_off()
        self.flash.restore(snapshot)

    # -- protection -------------------------------------------------------------------------------

    def protect(self, level: int) -> None:
        """Change the read-out protection by option bytes, as any debugger or the ROM may.

        From 1 to 0 all user flash, the backup SRAM and the backup registers are erased; 2 is final.
        """
        change_level(self.flash, self.rams, self._peripherals, level)

    def debugger(self) -> Debugger:
        """Attach a debugger; at level 1 that closes the flash until the power is switched."""
        return Debugger(self)

    # -- a programmer's shortcuts -----------------------------------------------------------------

    def program(self, segments: dict[int, bytes]) -> None:
        """Write like a debugger at level 0: erase the sectors touched, then program whole words.

        Segments are padded with ones to whole flash words; words of ones only are left blank.
        """
        words = _flash_words(segments)
        for sector in sorted({address - address % SECTOR_SIZE for address in words}):
            cells = self.flash.cells_of(sector)
            cells.erase((sector - cells.span.start) // SECTOR_SIZE)
        for address, data in words.items():
            if data != b"\xff" * FLASH_WORD:
                cells = self.flash.cells_of(address)
                cells.program(cells.word_of(address), data)

    def read(self, address: int, size: int) -> bytes:
        """Return content of flash, or of RAM as the last run left it, without any effect."""
        found = self.rams.read(address, size)
        return self.flash.peek(address, size) if found is None else found

    # -- outside ----------------------------------------------------------------------------------

    @property
    def pins(self) -> Pins:
        """Levels that something outside drives: ``board.pins["PC13"] = True``."""
        return self._peripherals.pins

    def send_serial(self, data: bytes, *, bytes_per_second: float | None = None) -> None:
        """Send bytes to the chip's serial port, once its receiver is on.

        The next one comes as soon as the last was read; at a pace, what is not read in time is
        lost, as on the wire.
        """
        self._peripherals.serial.feed(data, bytes_per_second)

    def on_serial(self, heard: Callable[[int], None]) -> None:
        """Call ``heard`` with every byte that the chip sends; it may answer."""
        self._peripherals.serial.on_byte = heard

    @property
    def rom(self) -> RomDfu | None:
        """The ROM's DfuSe device while the board sits in it."""
        return self._rom if self._rom is not None and self._rom.is_on_bus else None

    @property
    def device(self) -> UsbDevice | None:
        """Whatever is on the bus now: the ROM's device, or that of the program on the core."""
        usb = self._life.usb if self._life is not None else None
        return usb if usb is not None and usb.is_on_bus else self.rom

    def usb_backend(self, *others: Board) -> VirtualUsb:
        """Return a pyusb backend with this board on port 1 and ``others`` on the ports after it."""
        from packager.sim.usb_backend import VirtualUsb

        return VirtualUsb([self, *others])

    def plug_in(self) -> None:
        """Put a cable back in that was pulled while the board had another supply; then go on."""
        self._peripherals.wire.plug_in()

    # -- power ------------------------------------------------------------------------------------

    def power_off(self) -> None:
        """Pull the plug; it tears what the flash is just doing."""
        if self._rom is not None and self._rom.is_on_bus:
            self._rom.drop()
        if self._life is not None:
            self._life.end()
        self._rom = self._life = None

    def boot(
        self,
        *,
        boot0: bool = False,
        limit_seconds: float = 600.0,
        app_seconds: float = 0.02,
        cut: Cut | str | None = None,
        on_operation: Callable[[FlashOp, Board], None] | None = None,
        count: bool = False,
        strict: bool = True,
    ) -> BootReport:
        """Switch off and on, and run until the outcome is clear.

        That is: the application ran for ``app_seconds``, the loader stays, or ``limit_seconds``
        are over. ``cut`` also holds for what is done over USB afterwards. ``on_operation``
        is called after every flash operation of this power-on, the ROM's too; what it raises ends
        the boot. ``count`` counts instructions exactly, at a price. Without ``strict`` loads of
        healthy flash words are not looked at: half the time for a sweep, but unaligned loads and
        loads from a busy bank pass unseen, and the core's time leaves them out.

        Raises :class:`~packager.errors.SimulationFault` when a program breaks a rule of the chip.
        """
        self.power_off()
        planned = Cut.parse(cut) if isinstance(cut, str) else cut
        self.flash.power_on(planned)
        self.flash.on_operation = None
        if on_operation is not None:
            self.flash.on_operation = lambda op: on_operation(op, self)
        self.rams.power_on()
        self._peripherals.serial.power_on()
        self._peripherals.supply_volts = self.supply_volts
        self._peripherals.wire.plug_in()
        self._registers.power_on()
        options = self.flash.options
        self._peripherals.power_on(watchdog_runs=options.watchdog_from_power_on)
        self.flash.intrusion = options.rdp_level == 1 and self.debugger_attached
        life = self._life = Life(self, self._inside, count=count, strict=strict)
        if options.boot_address(boot0=boot0) >= system_memory.BASE and options.rdp_level < 2:
            self.flash.intrusion = options.rdp_level == 1
            return life.enter_rom()
        return life.power_on(options.boot_address(boot0=False), limit_seconds, app_seconds)

    def go_on(self, *, limit_seconds: float = 600.0, app_seconds: float = 0.02) -> BootReport:
        """Let a board that stays in its loader or was left by its host go on from there."""
        if self._rom is not None and self._rom.left_to is not None:
            return self.boot_after_leave(limit_seconds=limit_seconds, app_seconds=app_seconds)
        if self._life is None:
            raise not_running()
        return self._life.go_on(limit_seconds, app_seconds)

    def press_reset(self, *, limit_seconds: float = 600.0, app_seconds: float = 0.02) -> BootReport:
        """Press the reset button: RAM and backup registers keep what they hold."""
        if self._life is None:
            raise not_running()
        if self._rom is not None and self._rom.is_on_bus:
            self._rom.drop()
        self._rom = None
        return self._life.press_reset(limit_seconds, app_seconds)

    def boot_after_leave(
        self,
        *,
        limit_seconds: float = 600.0,
        app_seconds: float = 0.02,
        count: bool = False,
        strict: bool = True,
    ) -> BootReport:
        """Go on where the ROM's leave jumped to: no reset, and USB, HSI48 and CRS still on.

        The ROM resets the chip instead when the stack pointer found there is not inside RAM less
        16 bytes, or the entry is not in flash.
        """
        rom, self._rom = self._rom, None
        if rom is None or rom.left_to is None:
            raise PackagerError("virtual board", "its ROM was not left", "expected a leave before")
        life = self._life = Life(self, self._inside, count=count, strict=strict)
        locks = rom.version.locks_power_register
        return life.after_leave(rom.left_to, locks, limit_seconds, app_seconds)

    def _sit_in_rom(self) -> None:
        self.rams.rom_ran(ROM_VERSIONS[self.rom_id].axi_sram_used)
        memory = system_memory.render(self.chip, self.rom_id, self.uid)

        def read(address: int, size: int) -> bytes:
            return memory[address - system_memory.BASE :][:size]

        self._rom = RomDfu(self.flash, self.rom_id, read)


def _flash_words(segments: dict[int, bytes]) -> dict[int, bytes]:
    """Cut segments into whole flash words, the gaps filled with ones."""
    words: dict[int, bytearray] = {}
    for start, data in segments.items():
        at = start
        while at < start + len(data):
            base = at - at % FLASH_WORD
            end = min(base + FLASH_WORD, start + len(data))
            word = words.setdefault(base, bytearray(b"\xff" * FLASH_WORD))
            word[at - base : end - base] = data[at - start : end - start]
            at = end
    return {address: bytes(words[address]) for address in sorted(words)}
