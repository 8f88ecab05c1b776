"""The core's own registers: SCB, SysTick, NVIC, MPU, cache maintenance (ARMv7-M B3, Cortex-M7)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from packager.sim.clock import Clock

CORE_HZ = 64_000_000.0
"""HSI after reset; the virtual core always runs at it."""
SYST_CSR, SYST_RVR, SYST_CVR, SYST_CALIB = 0xE010, 0xE014, 0xE018, 0xE01C
CPUID, ICSR, VTOR, AIRCR, SCR, CCR, SHCSR = 0xED00, 0xED04, 0xED08, 0xED0C, 0xED10, 0xED14, 0xED24
CFSR, HFSR, MMFAR, BFAR = 0xED28, 0xED2C, 0xED34, 0xED38
CLIDR, CTR, CCSIDR, CSSELR = 0xED78, 0xED7C, 0xED80, 0xED84
ISER, ICER, ISPR, ICPR = 0xE100, 0xE180, 0xE200, 0xE280
MPU_TYPE, MPU_CTRL, MPU_RNR, MPU_RBAR, MPU_RASR = 0xED90, 0xED94, 0xED98, 0xED9C, 0xEDA0
DWT_CYCCNT = 0x1004

_CCR_AFTER_RESET = 0x0004_0200
BFHFNMIGN = 1 << 8
DCACHE_ON, ICACHE_ON = 1 << 16, 1 << 17
_CACHE_SIZES = {0: 0xF00F_E019, 1: 0xF01F_E009}
"""CCSIDR: 16 KiB data (4 ways), 16 KiB instruction (2 ways), lines of 32 bytes."""


_PENDSVSET = 1 << 28
_SWITCHES = (SYST_CSR, ICSR, SCR, SHCSR, CFSR, HFSR, MPU_CTRL, MPU_RNR)
_MPU_REGIONS = 16
_CLOSED_EVERYWHERE = 1 << 28 | 31 << 1 | 1
"""RASR is unknown after a reset (Armv7-M B3.5.9). This rules all addresses, as soon as anybody
switches the MPU on who did not write it before."""


class Cfsr(IntFlag):
    """Fault status bits used here."""

    IACCVIOL = 1 << 0
    IBUSERR = 1 << 8
    PRECISERR = 1 << 9
    IMPRECISERR = 1 << 10
    BFARVALID = 1 << 15
    UNDEFINSTR = 1 << 16
    NOCP = 1 << 19


@dataclass(frozen=True)
class MpuRegion:
    """One enabled region."""

    number: int
    base: int
    size: int
    attributes: int

    @property
    def execute_never(self) -> bool:
        """RASR.XN."""
        return bool(self.attributes >> 28 & 1)

    @property
    def is_device(self) -> bool:
        """RASR.TEX, C and B say Device or Strongly-ordered: nothing is read but what is asked."""
        return not self.attributes >> 17 & 0b11101

    def contains(self, address: int) -> bool:
        """Tell whether the region, less its disabled subregions, holds ``address``."""
        if not self.base <= address < self.base + self.size:
            return False
        if self.size < 256:
            return True
        return not self.attributes >> 8 >> (address - self.base) // (self.size // 8) & 1


class SystemControl:
    """The system control space at 0xE0000000, addressed by offset."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.reset(0)

    def reset(self, vtor: int) -> None:
        """Take the reset values."""
        self.vtor = vtor
        self.ccr = _CCR_AFTER_RESET
        self.registers: dict[int, int] = {}
        self.regions = dict.fromkeys(range(_MPU_REGIONS), (0, _CLOSED_EVERYWHERE))
        self.reset_requested = False
        self.systick_pending = False
        self._systick_epoch = self.clock.now

    def changed(self) -> dict[int, int]:
        """Return what is not as after a reset, by address: switches, pending bits, fault flags.

        No region of the MPU may be left enabled by who wrote it: at RASR, a bit for each that is.
        """
        found = {offset: self._read_word(offset) for offset in _SWITCHES}
        found |= {at: self.registers[at] for at in self.registers if ISER <= at < ICPR}
        found[CCR] = self.ccr ^ _CCR_AFTER_RESET
        for number, (_, attributes) in self.regions.items():
            if attributes & 1 and attributes != _CLOSED_EVERYWHERE:
                found[MPU_RASR] = found.get(MPU_RASR, 0) | 1 << number
        return {0xE000_0000 + offset: value for offset, value in found.items() if value}

    # -- SysTick ----------------------------------------------------------------------------------

    @property
    def systick_control(self) -> int:
        """SYST_CSR without COUNTFLAG."""
        return self.registers.get(SYST_CSR, 0) & 7

    @property
    def systick_period(self) -> float:
        """Seconds from tick to tick."""
        return ((self.registers.get(SYST_RVR, 0) & 0xFF_FFFF) + 1) / CORE_HZ

    @property
    def tick_seconds(self) -> float:
        """Seconds from tick to tick while it counts, whether it interrupts or not."""
        return self.systick_period if self.systick_control & 1 else float("inf")

    @property
    def next_tick(self) -> float:
        """When SysTick interrupts next; never if it is off or its interrupt is."""
        if self.systick_control & 3 != 3:
            return float("inf")
        return self._systick_epoch + self.systick_period

    def take_tick(self) -> None:
        """Note that SysTick interrupted."""
        self._systick_epoch = self.clock.now

    def _systick_value(self) -> int:
        ticks = int((self.clock.now - self._systick_epoch) * CORE_HZ)
        reload = self.registers.get(SYST_RVR, 0) & 0xFF_FFFF
        return reload - ticks % (reload + 1) if self.systick_control & 1 else 0

    def _systick_csr(self) -> int:
        passed = self.clock.now - self._systick_epoch >= self.systick_period
        if passed and self.systick_control & 3 == 1:
            self._systick_epoch = self.clock.now
        return self.systick_control | (passed and self.systick_control & 1) << 16

    # -- access -----------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Read a register; ``offset`` counts from 0xE0000000."""
        word = offset & ~3
        value = self._read_word(word)
        return value >> 8 * (offset - word) & (1 << 8 * size) - 1

    def _read_word(self, offset: int) -> int:
        if offset == SYST_CSR:
            return self._systick_csr()
        if offset == SYST_CVR:
            return self._systick_value()
        if offset == DWT_CYCCNT:
            return int(self.clock.now * CORE_HZ) & 0xFFFF_FFFF
        fixed = {
            CPUID: 0x411F_C271,
            AIRCR: 0xFA05_0000,
            ICSR: self.systick_pending << 26 | self.registers.get(ICSR, 0),
            VTOR: self.vtor,
            CCR: self.ccr,
            CLIDR: 0x0900_0003,
            CTR: 0x8303_C003,
            CCSIDR: _CACHE_SIZES.get(self.registers.get(CSSELR, 0) & 1, 0),
            MPU_TYPE: 0x1000,
        }
        if offset in fixed:
            return fixed[offset]
        if ISER <= offset < ICPR + 0x40:
            return self.registers.get(offset & ~0x80, 0)
        if MPU_RBAR <= offset <= 0xEDB8:
            base, attributes = self.regions.get(self._region(), (0, 0))
            return attributes if (offset - MPU_RBAR) % 8 == 4 else base & ~0x1F | self._region()
        return self.registers.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        """Write a register; ``offset`` counts from 0xE0000000."""
        word = offset & ~3
        if size < 4:
            shift = 8 * (offset - word)
            mask = (1 << 8 * size) - 1 << shift
            value = self._read_word(word) & ~mask | value << shift & mask
        self._write_word(word, value)

    def _write_word(self, offset: int, value: int) -> None:
        if offset == VTOR:
            self.vtor = value & ~0x7F
        elif offset == CCR:
            self.ccr = value
        elif offset == AIRCR:
            self.reset_requested = value >> 16 == 0x05FA and bool(value & 1 << 2)
        elif offset == ICSR:
            if value & 1 << 25:
                self.systick_pending = False
            elif value & 1 << 26:
                self.systick_pending = True
            pended = self.registers.get(ICSR, 0) & ~(value << 1)
            self.registers[ICSR] = (pended | value) & _PENDSVSET
        elif ISER <= offset < ICPR + 0x40:
            held = self.registers.get(offset & ~0x80, 0)
            clears = offset & 0x80
            self.registers[offset & ~0x80] = held & ~value if clears else held | value
        elif offset in (CFSR, HFSR):
            self.registers[offset] = self.registers.get(offset, 0) & ~value
        elif MPU_RBAR <= offset <= 0xEDB8:
            self._write_region((offset - MPU_RBAR) % 8, value)
        else:
            if offset in (SYST_CVR, SYST_CSR, SYST_RVR):
                self._systick_epoch = self.clock.now
            self.registers[offset] = value

    # -- MPU --------------------------------------------------------------------------------------

    def _region(self) -> int:
        return self.registers.get(MPU_RNR, 0) & 0xF

    def _write_region(self, which: int, value: int) -> None:
        if which == 0:
            if value & 0x10:
                self.registers[MPU_RNR] = value & 0xF
            self.regions[self._region()] = (value, self.regions.get(self._region(), (0, 0))[1])
        else:
            self.regions[self._region()] = (self.regions.get(self._region(), (0, 0))[0], value)

    @property
    def mpu_is_on(self) -> bool:
        """MPU_CTRL.ENABLE."""
        return bool(self.registers.get(MPU_CTRL, 0) & 1)

    def region_of(self, address: int) -> MpuRegion | None:
        """Return the region that rules ``address`` while the MPU is on."""
        if not self.mpu_is_on:
            return None
        for number in sorted(self.regions, reverse=True):
            base, attributes = self.regions[number]
            size = 2 << (attributes >> 1 & 0x1F)
            region = MpuRegion(number, base & ~(size - 1) & ~0x1F, size, attributes)
            if attributes & 1 and region.contains(address):
                return region
        return None

    def note_fault(self, flags: int, address: int | None) -> None:
        """Record a bus, memory or usage fault."""
        if address is not None:
            flags |= Cfsr.BFARVALID
            self.registers[BFAR] = address
        self.registers[CFSR] = self.registers.get(CFSR, 0) | flags
