"""Exception entry and return of the Cortex-M7, which the emulator leaves to us (ARMv7-M B1.5)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any

import unicorn
import unicorn.arm_const as arm

from packager.sim import scs
from packager.sim.scs import SystemControl

_UcError: Any = vars(unicorn)["UcError"]  # not exported to type checkers
_FRAME = (
    arm.UC_ARM_REG_R0,
    arm.UC_ARM_REG_R1,
    arm.UC_ARM_REG_R2,
    arm.UC_ARM_REG_R3,
    arm.UC_ARM_REG_R12,
    arm.UC_ARM_REG_LR,
)
_STKALIGN = 1 << 9
_FORCED = 1 << 30
_VECTTBL = 1 << 1
_BUSFAULT_ENABLED, _USAGE_ENABLED, _MEM_ENABLED = 1 << 17, 1 << 18, 1 << 16
_RETURN_HANDLER, _RETURN_MSP, _RETURN_PSP = 0xFFFF_FFF1, 0xFFFF_FFF9, 0xFFFF_FFFD


class Exc(IntEnum):
    """Exception numbers."""

    NMI = 2
    HARD_FAULT = 3
    MEM_MANAGE = 4
    BUS_FAULT = 5
    USAGE_FAULT = 6
    SVCALL = 11
    SYSTICK = 15


_ENABLED_BY = {
    Exc.MEM_MANAGE: _MEM_ENABLED,
    Exc.BUS_FAULT: _BUSFAULT_ENABLED,
    Exc.USAGE_FAULT: _USAGE_ENABLED,
}


class LockedUp(Exception):
    """The core met a fault where it cannot take one."""


class Exceptions:
    """Takes exceptions on one emulator."""

    def __init__(self, uc: Any, system: SystemControl) -> None:
        self._uc = uc
        self._system = system

    @property
    def active(self) -> int:
        """IPSR."""
        return int(self._uc.reg_read(arm.UC_ARM_REG_IPSR))

    @property
    def primask(self) -> bool:
        """PRIMASK."""
        return bool(self._uc.reg_read(arm.UC_ARM_REG_PRIMASK))

    @property
    def faultmask(self) -> bool:
        """FAULTMASK."""
        return bool(self._uc.reg_read(arm.UC_ARM_REG_FAULTMASK))

    @property
    def ignores_bus_faults(self) -> bool:
        """CCR.BFHFNMIGN at priority -1 or -2: a failing load returns whatever it likes."""
        masked = self.faultmask or self.active in (Exc.NMI, Exc.HARD_FAULT)
        return masked and bool(self._system.ccr & scs.BFHFNMIGN)

    def fault(self, number: Exc, flags: int, address: int | None = None) -> None:
        """Take a fault, as itself or escalated to HardFault; may raise :class:`LockedUp`."""
        self._system.note_fault(flags, address)
        if self.faultmask or self.active in (Exc.NMI, Exc.HARD_FAULT):
            raise LockedUp
        enabled = self._system.registers.get(scs.SHCSR, 0) & _ENABLED_BY.get(number, 0)
        if not enabled or self.primask or self.active == number:
            number = Exc.HARD_FAULT
            hfsr = self._system.registers.get(scs.HFSR, 0)
            self._system.registers[scs.HFSR] = hfsr | _FORCED
        self.enter(number)

    def enter(self, number: Exc) -> None:
        """Stack eight words and go to the handler; may raise :class:`LockedUp`."""
        uc = self._uc
        xpsr = uc.reg_read(arm.UC_ARM_REG_XPSR)
        stack = uc.reg_read(arm.UC_ARM_REG_SP)
        aligned = stack & 4
        frame_at = (stack - 32 - aligned) & 0xFFFF_FFFF
        words = [uc.reg_read(register) for register in _FRAME]
        words += [uc.reg_read(arm.UC_ARM_REG_PC), xpsr & ~_STKALIGN | (_STKALIGN if aligned else 0)]
        thread_on_psp = not self.active and uc.reg_read(arm.UC_ARM_REG_CONTROL) & 2
        back = _RETURN_HANDLER if self.active else _RETURN_PSP if thread_on_psp else _RETURN_MSP
        try:
            uc.mem_write(frame_at, struct.pack("<8I", *words))
            vector = struct.unpack("<I", uc.mem_read(self._system.vtor + 4 * number, 4))[0]
        except _UcError as error:
            raise LockedUp from error
        if not vector & 1:
            raise LockedUp
        uc.reg_write(arm.UC_ARM_REG_SP, frame_at)
        uc.reg_write(arm.UC_ARM_REG_XPSR, 1 << 24 | number)
        uc.reg_write(arm.UC_ARM_REG_LR, back)
        uc.reg_write(arm.UC_ARM_REG_PC, vector)

    def leave(self) -> None:
        """Return from a handler: PC holds EXC_RETURN less bit 0."""
        uc = self._uc
        back = uc.reg_read(arm.UC_ARM_REG_PC) & 0xF
        if self.active != Exc.NMI:
            uc.reg_write(arm.UC_ARM_REG_FAULTMASK, 0)
        on_psp = back & 4
        register = arm.UC_ARM_REG_PSP if on_psp else arm.UC_ARM_REG_SP
        frame_at = uc.reg_read(register)
        try:
            words = struct.unpack("<8I", uc.mem_read(frame_at, 32))
        except _UcError as error:
            raise LockedUp from error
        xpsr = words[7]
        stack = frame_at + 32 + (4 if xpsr & _STKALIGN else 0)
        uc.reg_write(register, stack)
        uc.reg_write(arm.UC_ARM_REG_XPSR, xpsr & ~_STKALIGN)
        for name, word in zip(_FRAME, words[:6], strict=True):
            uc.reg_write(name, word)
        uc.reg_write(arm.UC_ARM_REG_PC, words[6] | 1)
