"""How a run on the virtual core ends, and what the core looks like when it hands over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stop(StrEnum):
    """Why the core stopped running."""

    RESET = "reset"
    WATCHDOG = "watchdog"
    POWER_CUT = "power-cut"
    ENTERS_ROM = "enters-rom"
    IDLE = "idle"
    """Nothing will ever happen again: it sleeps or spins, watchdog off or fed in the loop."""
    LOCKED_UP = "locked-up"
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
