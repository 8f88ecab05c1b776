"""A flash bank that stays busy for ever: the driver gives up, fed watchdog and all.

The virtual flash always ends what it began, and asking it 67 million times would take hours. So
here the driver's own wait, from the shipped binary, runs on a bare core whose flash interface is
plain memory that always says busy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import unicorn
import unicorn.arm_const as arm
import workshop
from elftools.elf.elffile import ELFFile
from proof.code import Code

from packager import toolchain
from packager.sim import flash_registers

PAGE = 0x1000
FLASH_REGISTERS = flash_registers.BASE & ~(PAGE - 1)
WATCHDOG = 0x5800_4800
BANKS = (flash_registers.BASE, flash_registers.BASE + 0x100)
QW, BUSY = 1 << 2, 1 << 0
FEED = 0xAAAA
HALT = 0x0010_0000
STACK = 0x2000_2000

u: Any = unicorn


class BareCore:
    """A core with the loader's code and nothing else that answers."""

    def __init__(self, elf: Path, status: int) -> None:
        self.uc = u.Uc(u.UC_ARCH_ARM, u.UC_MODE_THUMB | u.UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M7)
        for start, size in (
            (0, 0x1_0000),
            (HALT, PAGE),
            (0x0800_0000, 0x2_0000),
            (0x2000_0000, 0x2_0000),
            (FLASH_REGISTERS, PAGE),
            (WATCHDOG & ~(PAGE - 1), PAGE),
        ):
            self.uc.mem_map(start, size)
        with elf.open("rb") as stream:
            for segment in ELFFile(stream).iter_segments("PT_LOAD"):
                if segment["p_filesz"]:
                    self.uc.mem_write(segment["p_vaddr"], segment.data())
        for bank in BANKS:
            self.put(bank + flash_registers.SR, status)

    def put(self, address: int, value: int) -> None:
        self.uc.mem_write(address, value.to_bytes(4, "little"))

    def get(self, address: int) -> int:
        return int.from_bytes(self.uc.mem_read(address, 4), "little")

    def call(self, address: int, *arguments: int) -> int:
        for number, value in enumerate(arguments):
            self.uc.reg_write(arm.UC_ARM_REG_R0 + number, value)
        self.uc.reg_write(arm.UC_ARM_REG_SP, STACK)
        self.uc.reg_write(arm.UC_ARM_REG_LR, HALT | 1)
        self.uc.emu_start(address | 1, HALT)
        return int(self.uc.reg_read(arm.UC_ARM_REG_R0))


@pytest.mark.parametrize("tool", toolchain.NAMES)
@pytest.mark.parametrize(("bank", "status"), [(BANKS[0], QW), (BANKS[1], BUSY)])
def test_a_bank_that_stays_busy_for_ever_ends_in_an_error(
    build: workshop.Build, tool: str, bank: int, status: int
) -> None:
    elf = build(workshop.DEFAULT, tool).loader.elf
    wait = Code(elf).functions["ram_wait"].start
    core = BareCore(elf, status)

    assert core.call(wait, bank) == status

    assert core.get(WATCHDOG) == FEED
