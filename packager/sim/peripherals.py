"""The peripherals around the core that a loader or a small application touches.

Registers without behaviour are plain storage. A register of a peripheral that is not here is
reported, with its address, instead of reading as zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packager.chip import DEV_ID
from packager.errors import SimulationFault
from packager.sim import flash_registers, otg, otg_bringup, serial
from packager.sim.clock import Clock
from packager.sim.flash_registers import FlashRegisters
from packager.sim.otg import Otg
from packager.sim.pins import Pins
from packager.sim.serial import Serial
from packager.sim.watchdog import Watchdog
from packager.sim.wire import Wire

RCC, PWR, IWDG, RTC = 0x5802_4400, 0x5802_4800, 0x5800_4800, 0x5800_4000
USARTS = {0x4001_1000: "USART1", 0x4000_4400: "USART2", 0x4000_4800: "USART3"}
DBGMCU = 0x5C00_1000
_GPIO, _GPIO_END = 0x5802_0000, 0x5802_2C00

RCC_CR, RCC_CFGR, RCC_BDCR, RCC_CSR, RCC_RSR = (RCC + at for at in (0x00, 0x10, 0x70, 0x74, 0xD0))
RCC_C1_RSR = RCC + 0x130
RCC_AHB1ENR, RCC_AHB4ENR, RCC_APB1LENR = RCC + 0xD8, RCC + 0xE0, RCC + 0xE8
RCC_APB1HENR, RCC_APB4ENR = RCC + 0xEC, RCC + 0xF4
PWR_CR1, PWR_CSR1, PWR_CR2, PWR_CR3, PWR_D3CR = (PWR + at for at in (0x00, 0x04, 0x08, 0x0C, 0x18))
CRS_CR, CRS_CFGR = 0x4000_8400, 0x4000_8404
RTC_BACKUP = range(RTC + 0x50, RTC + 0xD0)
_DBP = 1 << 8
_RTCAPBEN, _USB2OTGFS = 16, 27
_HSI48ON, _HSI48RDY = 1 << 12, 1 << 13
_HSI48_SECONDS = 4e-6
_CRS_CFGR_RESET = 0x2022_BB7F
_MODER, _OSPEEDR, _PUPDR, _IDR, _ODR, _BSRR = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x18
_GPIO_RESET: dict[int, dict[int, int]] = {
    0: {_MODER: 0xABFF_FFFF, _OSPEEDR: 0x0C00_0000, _PUPDR: 0x6400_0000},
    1: {_MODER: 0xFFFF_FEBF, _OSPEEDR: 0x0000_00C0, _PUPDR: 0x0000_0100},
    **{port: {_MODER: 0xFFFF_FFFF} for port in range(2, 11)},
}
_PVD_VOLTS = (1.95, 2.10, 2.25, 2.40, 2.55, 2.70, 2.85)
_RMVF = 1 << 16


@dataclass(frozen=True)
class _Block:
    """A peripheral whose registers are storage unless handled below."""

    name: str
    start: int
    size: int


_STORAGE = (
    _Block("RCC", RCC, 0x200),
    _Block("PWR", PWR, 0x40),
    _Block("GPIO", _GPIO, _GPIO_END - _GPIO),
    _Block("EXTI", 0x5800_0000, 0x400),
    _Block("SYSCFG", 0x5800_0400, 0x400),
    _Block("RTC", RTC, 0x100),
    _Block("CRS", 0x4000_8400, 0x10),
    _Block("OTG_FS", otg.BASE, otg.SIZE),
    _Block("OTG_HS", 0x4004_0000, 0x1_0000),
    _Block("AXI interconnect", 0x5100_0000, 0x10_0000),
    _Block("DBGMCU", DBGMCU, 0x100),
    *(_Block(name, start, 0x400) for start, name in USARTS.items()),
)


_AFTER_RESET = {
    RCC_CR: 0xC025,
    RCC_C1_RSR: 0,
    PWR_CR1: 0xF000_C000,
    PWR_CR3: 0x6,
    PWR_D3CR: 0x6000,
    RCC_APB4ENR: 1 << _RTCAPBEN,
    CRS_CFGR: _CRS_CFGR_RESET,
    **{
        _GPIO + 0x400 * port + at: value
        for port, registers in _GPIO_RESET.items()
        for at, value in registers.items()
    },
}
"""Registers that are not zero after a reset."""

_RESET_BITS = {
    RCC + 0x80: {25: range(0x4004_0000, 0x4005_0000), 27: range(0x4008_0000, 0x4009_0000)},
    RCC + 0x88: {
        port: range(_GPIO + port * 0x400, _GPIO + (port + 1) * 0x400) for port in range(11)
    },
    RCC + 0x90: {17: range(0x4000_4400, 0x4000_4800), 18: range(0x4000_4800, 0x4000_4C00)},
    RCC + 0x94: {1: range(0x4000_8400, 0x4000_8800)},
    RCC + 0x98: {4: range(0x4001_1000, 0x4001_1400)},
    RCC + 0x9C: {1: range(0x5800_0400, 0x5800_0800)},
}
"""RCC registers by whose bits a peripheral is reset, with its addresses (RM0433 8.7)."""


class ResetCause:
    """RCC_RSR after each kind of reset."""

    POWER_ON = 0x00FE_0000
    SOFTWARE = 1 << 24 | 1 << 22 | 1 << 17
    WATCHDOG = 1 << 26 | 1 << 22 | 1 << 17
    PIN = 1 << 22 | 1 << 17


class Peripherals:
    """Everything on the buses besides memories and the core's own registers."""

    def __init__(self, clock: Clock, flash: FlashRegisters, revision: int) -> None:
        self.clock = clock
        self.flash = flash
        self.watchdog = Watchdog(clock)
        self.supply_volts: Callable[[float], float] = lambda now: 3.3
        """VDD at a virtual time, for the voltage detector."""
        self.serial = Serial(clock)
        self.pins = Pins()
        """Levels from outside."""
        self.otg = Otg(clock)
        self.otg.has_48_mhz = lambda: otg_bringup.has_48_mhz(self.peek)
        self.wire = Wire(clock, self.otg, lambda: otg_bringup.missing(self.otg, self.peek))
        self._revision = revision
        self._registers: dict[int, int] = {}
        self._backup: dict[int, int] = {}
        self._power_register_written = False
        self.power_register_locked = False
        self._reset_cause = 0
        self._hsi48_ready_at = 0.0
        self.power_on(watchdog_runs=False)

    # -- reset ------------------------------------------------------------------------------------

    def power_on(self, *, watchdog_runs: bool) -> None:
        """Take the state after power-on."""
        self._backup.clear()
        self._reset_cause = 0
        self._power_register_written = self.power_register_locked = False
        self.reset(ResetCause.POWER_ON, watchdog_runs=watchdog_runs)

    def reset(self, cause: int, *, watchdog_runs: bool) -> None:
        """Take a system reset; backup registers and the reset flags stay."""
        self._reset_cause |= cause
        supply = self._registers.get(PWR_CR3, 0x6) & 0x7
        self._registers = dict(_AFTER_RESET)
        for port in _GPIO_RESET:
            self._note_outputs(_GPIO + 0x400 * port)
        if self._power_register_written:
            self._registers[PWR_CR3] = supply
        self.otg.reset()
        self.wire.power_on()
        self.serial.reset()
        self.watchdog.reset(running=watchdog_runs)
        self._watchdog_changed()

    def rom_leaves(self, *, locks_power_register: bool) -> None:
        """Take the state the ROM's leave hands over: USB, HSI48 and CRS run (AN2606)."""
        self._registers[RCC_CR] = 0xC025 | 3 << 12
        self._registers[RCC_AHB1ENR] = 1 << _USB2OTGFS
        self._registers[RCC_APB1HENR] = 1 << 1
        self._registers[otg_bringup.RCC_D2CCIP2R] = 3 << 20  # USBSEL: HSI48
        self._registers[CRS_CR] = 0x2060
        self._registers[PWR_CR3] = 0x0500_0006
        self.power_register_locked = locks_power_register
        if self.watchdog.is_running:
            self.watchdog.slow_down()
        else:
            self.watchdog.stuck_update = True

    def enabled(self, address: int, bit: int) -> bool:
        """Tell whether ``bit`` of a storage register is set."""
        return bool(self._registers.get(address, 0) >> bit & 1)

    def forget_backup(self) -> None:
        """Lose the backup registers: no power, or read-out protection was left."""
        self._backup.clear()

    def changed(self) -> dict[int, int]:
        """Return the registers, by address, that read otherwise than after a reset.

        The flags that tell the cause of the reset are for programs to clear and do not count.
        """
        found = {}
        for address in self._registers.keys() | _AFTER_RESET.keys():
            derive = _DERIVED.get(address, int)
            value = derive(self._registers.get(address, 0))
            if value != derive(_AFTER_RESET.get(address, 0)):
                found[address] = value
        flash, usb = self.flash.changed(), self.otg.changed()
        found |= {flash_registers.BASE + offset: flash[offset] for offset in flash}
        return found | {otg.BASE + offset: usb[offset] for offset in usb}

    @staticmethod
    def pops(address: int) -> bool:
        """Tell whether a read takes something away, so that it must not be done twice."""
        if address & 0x3FF == serial.RDR and address & ~0x3FF in USARTS:
            return True
        return otg.BASE <= address < otg.BASE + otg.SIZE and Otg.pops(address - otg.BASE)

    # -- access -----------------------------------------------------------------------------------

    def read(self, address: int, size: int) -> int:
        """Read a register."""
        if flash_registers.BASE <= address < flash_registers.BASE + 0x200:
            return self.flash.read(address - flash_registers.BASE, size)
        if otg.BASE <= address < otg.BASE + otg.SIZE:
            clocked = self.enabled(RCC_AHB1ENR, _USB2OTGFS)
            return self.otg.read(address - otg.BASE, size) if clocked else 0
        word = address & ~3
        value = self._read_usart(word) if word & ~0x3FF in USARTS else self.peek(word)
        return value >> 8 * (address - word) & (1 << 8 * size) - 1

    def write(self, address: int, size: int, value: int) -> None:
        """Write a register."""
        if flash_registers.BASE <= address < flash_registers.BASE + 0x200:
            self.flash.write(address - flash_registers.BASE, size, value)
            return
        if otg.BASE <= address < otg.BASE + otg.SIZE:
            self._write_otg(address - otg.BASE, size, value)
            return
        word = address & ~3
        if size < 4:
            shift = 8 * (address - word)
            mask = (1 << 8 * size) - 1 << shift
            value = self._registers.get(word, 0) & ~mask | value << shift & mask
        if word == PWR_CR3:
            self._write_supply(value, takes_low_byte=address == word)
        else:
            self._write_word(word, value)

    def _write_otg(self, offset: int, size: int, value: int) -> None:
        self.otg.is_touched = True
        if self.enabled(RCC_AHB1ENR, _USB2OTGFS):
            self.otg.write(offset, size, value)
        if offset not in (otg.GINTSTS, otg.DIEPINT0, otg.DOEPINT0):
            self.wire.disturb()  # but clearing flags is part of looking

    def _read_usart(self, address: int) -> int:
        base, read = address & ~0x3FF, self._registers.get
        return self.serial.read(address - base, read(base + serial.CR1, 0), read(address, 0))

    def peek(self, address: int) -> int:
        """Return what a read of a word gives, without any effect."""
        if IWDG <= address < IWDG + 0x20:
            return self.watchdog.read(address - IWDG)
        self._must_be_known(address)
        stored = self._registers.get(address, 0)
        if address in (RCC_RSR, RCC_C1_RSR):
            return self._reset_cause
        if address == RCC_CR:
            ready = stored & _HSI48ON and self.clock.now >= self._hsi48_ready_at
            return _rcc_cr(stored) & ~_HSI48RDY | (_HSI48RDY if ready else 0)
        if address in _DERIVED:
            return _DERIVED[address](stored)
        if address == PWR_CSR1:
            return 0x4000 | 1 << 13 | self._supply_is_low() << 4
        if address == DBGMCU:
            return self._revision << 16 | 0x6000 | DEV_ID
        if address in RTC_BACKUP:
            return self._backup.get(address, 0) if self.enabled(RCC_APB4ENR, _RTCAPBEN) else 0
        if _GPIO <= address < _GPIO_END and address & 0x3FF == _IDR:
            return self._read_port(address & ~0x3FF)
        return stored

    def _read_port(self, base: int) -> int:
        port = (base - _GPIO) // 0x400
        if not self.enabled(RCC_AHB4ENR, port):
            return 0
        read = self._registers.get
        return self.pins.input_word(
            port, read(base, 0), read(base + _PUPDR, 0), read(base + _ODR, 0)
        )

    def _write_word(self, address: int, value: int) -> None:
        if IWDG <= address < IWDG + 0x20:
            self.watchdog.write(address - IWDG, value)
            self._watchdog_changed()
            return
        self._must_be_known(address)
        if address in (RCC_RSR, RCC_C1_RSR):
            self._reset_cause &= 0 if value & _RMVF else ~0
        elif address in RTC_BACKUP:
            writable = self._registers.get(PWR_CR1, 0) & _DBP
            if writable and self.enabled(RCC_APB4ENR, _RTCAPBEN):
                self._backup[address] = value
        elif address & ~0x3FF in USARTS and address & 0x3FF in (serial.TDR, serial.ICR):
            self.serial.write(address & 0x3FF, value)
        elif address in _RESET_BITS:
            self._registers[address] = value
            for bit, block in _RESET_BITS[address].items():
                if value >> bit & 1:
                    self._reset_block(block)
        elif _GPIO <= address < _GPIO_END and address & 0x3FF == _BSRR:
            port = (address & ~0x3FF) + _ODR
            output = self._registers.get(port, 0)
            self._registers[port] = (output | value & 0xFFFF) & ~(value >> 16 & ~value & 0xFFFF)
        else:
            self._note_clocks(address, value)
            self._registers[address] = value
        if _GPIO <= address < _GPIO_END:
            self._note_outputs(address & ~0x3FF)

    def _note_outputs(self, base: int) -> None:
        read = self._registers.get
        port = (base - _GPIO) // 0x400
        self.pins.note_outputs(self.clock.now, port, read(base, 0), read(base + _ODR, 0))

    def _note_clocks(self, address: int, value: int) -> None:
        """What RCC does besides storing: an oscillator that starts."""
        self.otg.is_news = True
        if address == RCC_CR and value & ~self._registers.get(RCC_CR, 0) & _HSI48ON:
            self._hsi48_ready_at = self.clock.now + _HSI48_SECONDS

    def _reset_block(self, block: range) -> None:
        self.otg.is_news = True
        if otg.BASE in block:
            self.otg.reset()
        for address in [address for address in self._registers if address in block]:
            del self._registers[address]
        for address in _AFTER_RESET:
            if address in block:
                self._registers[address] = _AFTER_RESET[address]
        if _GPIO <= block.start < _GPIO_END:
            self._note_outputs(block.start)

    def _write_supply(self, value: int, *, takes_low_byte: bool) -> None:
        """PWR_CR3: the low byte is taken once after power-on; ROM V9.0 leaves it all locked."""
        if self.power_register_locked:
            return
        self.otg.is_news = True
        low = self._registers.get(PWR_CR3, 0) & 0xFF
        if takes_low_byte and not self._power_register_written:
            low = value & 0xFF
            self._power_register_written = True
            if not low & 3:
                raise SimulationFault(
                    "PWR_CR3",
                    f"0x{low:02X} in its low byte switches the core's supply off",
                    "expected LDOEN or BYPASS to stay set",
                    "write the byte with USB33DEN only, or keep the others",
                )
        self._registers[PWR_CR3] = value & ~0xFF | low

    def _supply_is_low(self) -> bool:
        control = self._registers.get(PWR_CR1, 0)
        level = control >> 5 & 7
        if not control >> 4 & 1 or level >= len(_PVD_VOLTS):
            return False
        return self.supply_volts(self.clock.now) < _PVD_VOLTS[level]

    def _watchdog_changed(self) -> None:
        dog = self.watchdog
        self.flash.poll_limit = dog.period / 8 if dog.is_running else 1.0

    def _must_be_known(self, address: int) -> None:
        if not any(block.start <= address < block.start + block.size for block in _STORAGE):
            raise SimulationFault(
                f"register 0x{address:08X}",
                "the virtual chip has no peripheral there",
                "known are " + ", ".join(["FLASH", "IWDG", *(block.name for block in _STORAGE)]),
            )


def _rcc_cr(stored: int) -> int:
    """Every oscillator is ready as soon as it is on."""
    for on, ready in ((0, 2), (7, 8), (12, 13), (16, 17), (24, 25), (26, 27), (28, 29)):
        stored = stored & ~(1 << ready) | (stored >> on & 1) << ready
    return stored | 0xC020


def _first_bit_makes_second(stored: int) -> int:
    return stored & ~2 | (stored & 1) << 1


_DERIVED: dict[int, Callable[[int], int]] = {
    RCC_CR: _rcc_cr,
    RCC_CFGR: lambda stored: stored & ~0x38 | (stored & 7) << 3,
    RCC_BDCR: _first_bit_makes_second,
    RCC_CSR: _first_bit_makes_second,
    PWR_CR2: lambda stored: stored & ~(1 << 16) | (stored & 1) << 16,
    PWR_CR3: lambda stored: stored & ~(1 << 26) | (stored >> 24 & 1 | stored >> 25 & 1) << 26,
    PWR_D3CR: lambda stored: stored | 1 << 13,
}
