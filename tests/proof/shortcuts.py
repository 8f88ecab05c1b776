"""Long functions of a loader answer at once on a bench, when asked what was asked before.

Two functions of Monocypher, met again with the very input of the undisturbed run, give that run's
answer; whether a whole sector is blank is looked up. So a run takes milliseconds, and what a
disturbance does inside these functions has to be tried on a bench without shortcuts.
"""

from __future__ import annotations

from typing import Any

import unicorn
import unicorn.arm_const as arm

from packager.chip import SECTOR_SIZE
from proof.glitches import Bench

u: Any = unicorn
_LONG_FUNCTIONS = {
    # sizes of what the arguments point to, and of what comes back through the first one
    "crypto_eddsa_check_equation": ((64, 32, 32), 0),
    "crypto_x25519": ((0, 32, 32), 32),
}


def shorten(bench: Bench) -> None:
    """Let the long functions answer at once from now on."""
    for name, (sizes, out_size) in _LONG_FUNCTIONS.items():
        function = bench.code.functions.get(name)
        if function is not None:
            _remember_answer(bench, function.start, sizes, out_size)
    _look_up_blank_sectors(bench)


def _look_up_blank_sectors(bench: Bench) -> None:
    flash, blank = bench.board.flash, b"\xff" * SECTOR_SIZE

    def enter(uc: Any, address: int, size: int, data: object) -> None:
        start, length = uc.reg_read(arm.UC_ARM_REG_R0), uc.reg_read(arm.UC_ARM_REG_R1)
        if length != SECTOR_SIZE or start % SECTOR_SIZE or not flash.chip.bank_of(start):
            return
        if flash.peek(start, length) == blank:
            uc.reg_write(arm.UC_ARM_REG_R0, 0)
            uc.reg_write(arm.UC_ARM_REG_PC, uc.reg_read(arm.UC_ARM_REG_LR))

    start = bench.code.functions["flash_blank"].start
    bench.core.uc.hook_add(u.UC_HOOK_CODE, enter, None, start, start)
    bench.core.uc.ctl_flush_tb()


def _remember_answer(bench: Bench, start: int, sizes: tuple[int, ...], out_size: int) -> None:
    """Run undisturbed to the end of the function at ``start``; keep what it was asked and said."""
    uc = bench.core.uc
    known: dict[bytes, tuple[int, bytes]] = {}
    asked = b""
    out_at = back_at = 0

    def arguments() -> bytes:
        found = b""
        for number, size in enumerate(sizes):
            if size:
                found += bytes(uc.mem_read(uc.reg_read(arm.UC_ARM_REG_R0 + number), size))
        return found

    def enter(uc: Any, address: int, size: int, data: object) -> None:
        nonlocal asked, out_at, back_at
        try:
            asked = arguments()
        except u.UcError:
            return
        out_at, back_at = uc.reg_read(arm.UC_ARM_REG_R0), uc.reg_read(arm.UC_ARM_REG_LR)
        if asked in known:
            answer, out = known[asked]
            if out:
                uc.mem_write(out_at, out)
            uc.reg_write(arm.UC_ARM_REG_R0, answer)
            uc.reg_write(arm.UC_ARM_REG_PC, back_at)

    bench.rewind()
    hook = uc.hook_add(u.UC_HOOK_CODE, enter, None, start, start)
    uc.ctl_flush_tb()
    if not bench.core.run_to(start, 1):
        uc.hook_del(hook)
        return
    bench.core.run_to(back_at & ~1, 1)
    out = bytes(uc.mem_read(out_at, out_size)) if out_size else b""
    known[asked] = uc.reg_read(arm.UC_ARM_REG_R0), out
