"""How a run on the virtual core and a boot end, and what the core looks like at a handover."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from packager.sim.operations import Cut, FlashOp


class Stop(StrEnum):
    """Why the core stopped running."""

    RESET = "reset"
    WATCHDOG = "watchdog"
    POWER_CUT = "power-cut"
    ENTERS_ROM = "enters-rom"
    IDLE = "idle"
    """Nothing will ever happen again: it sleeps or spins, watchdog off or fed in the loop."""
    LOCKED_UP = "locked-up"
    HOST_IS_DUE = "host-is-due"
    """A USB host has something to do or to see; the core can go on."""
    TIME_UP = "time-up"


@dataclass(frozen=True)
class Handover:
    """The state of the chip at the first instruction of the application."""

    address: int
    vtor: int
    stack_pointer: int
    primask: bool
    faultmask: bool
    control: int
    ipsr: int
    mpu_on: bool
    instruction_cache_on: bool
    data_cache_on: bool
    systick_control: int
    usb_clock_on: bool
    time: float
    """Virtual seconds since power-on."""
    operations: int
    """Flash operations since power-on."""
    changed: dict[int, int]
    """Registers of core and peripherals that read otherwise than after a reset, by address."""


class Outcome(StrEnum):
    """How a boot ended."""

    APP_RUNS = "app-runs"
    STAYS_IN_ROM = "stays-in-rom"
    STAYS_IN_DFU = "stays-in-dfu"
    """The program on the core is a USB device and waits for its host."""
    STAYS_PARKED = "stays-parked"
    TIME_UP = "time-up"
    POWER_CUT = "power-cut"
    LOCKED_UP = "locked-up"
    """The core stopped for good before an application ran (no program, or a fault in a fault)."""
    RESET_LOOP = "reset-loop"


@dataclass(frozen=True)
class BootReport:
    """What happened from power-on on; times are virtual seconds."""

    outcome: Outcome
    uart: str
    operations: list[FlashOp]
    seconds: dict[str, float]
    instructions: int | None
    """Exact if they were counted, else None."""
    resets: list[str] = field(default_factory=list)
    """Why the chip was reset, in order: ``reset`` or ``watchdog``."""
    faults: list[str] = field(default_factory=list)
    """Faults the core took, in words."""
    handover: Handover | None = None
    """The state in which the application was entered."""
    cut: Cut | None = None
    """The power cut that ended the boot."""
    usb: list[str] = field(default_factory=list)
    """Why the USB device that the program tried to be is not on the bus."""
