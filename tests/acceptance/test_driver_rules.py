"""The rules of the flash driver and of the ways out, seen on the buses of the virtual chip.

Each is a story that can fail, like those of ``test_stories.py``: ``tests/mutants`` shows how.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import workshop
from acceptance.tape import PVDO, Tape, in_ram, taped
from acceptance.test_stories import SIZE, prepared, running_watchdog, seal
from unicorn import arm_const

from packager import rehearse, toolchain
from packager.chip import BOOT_ADDRESS, SECTOR_SIZE
from packager.dfu.usb import open_device
from packager.format import HEADER_SIZE, RECORD_SIZE
from packager.sim import flash_registers, peripherals, scs, system_memory
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.cells import Word
from packager.sim.cpu import Core
from packager.sim.flash_registers import LOCK, Sr
from packager.sim.operations import FlashOp, OpKind
from packager.sim.rom_descriptors import ROM_VERSIONS

SMALL = 1100
"""Bytes of an image that is quick to install: a vector table, a handler, a little more."""
SHORTEST_PERIOD = 0.512
"""Seconds from a feed to the reset, for a watchdog that runs by option byte: the shortest there
is when the loader begins, since only a reset stops the watchdog of an application."""
WORN_OUT = 10.0
"""Seconds an erase takes here: five times what the datasheet allows."""
LIMIT = 60.0
"""Virtual seconds in which any of these installs is over."""
ERRORS = Sr.WRPERR | Sr.PGSERR | Sr.STRBERR | Sr.INCERR | Sr.OPERR | Sr.SNECCERR | Sr.DBECCERR
BANK_STEP = 0x100


@pytest.fixture(params=toolchain.NAMES)
def shop(build: workshop.Build, request: pytest.FixtureRequest) -> workshop.Workshop:
    """The default layout, with each toolchain's loader."""
    return build(workshop.DEFAULT, request.param)


def installs(
    shop: workshop.Workshop,
    tape: Tape | None = None,
    *,
    arrange: Callable[[Board], None] = lambda board: None,
    watch: Callable[[FlashOp, Board], None] | None = None,
    size: int = SMALL,
    count: bool = False,
    strict: bool = False,
) -> BootReport:
    """Install an update on a board that was arranged for it; all must go as usual."""
    board, _, new, _ = prepared(shop, size)
    arrange(board)
    with taped(tape or Tape()):
        report = board.boot(limit_seconds=LIMIT, strict=strict, count=count, on_operation=watch)
    assert workshop.runs(report)
    assert not report.resets
    assert not report.faults
    assert shop.app_is(board, new)
    assert shop.is_header_blank(board)
    return report


# -- waiting ---------------------------------------------------------------------------------------


def test_nothing_runs_outside_ram_while_a_bank_is_busy(shop: workshop.Workshop) -> None:
    """Whichever bank it is: a loader in bank 1 that writes bank 2 could afford to, and does not."""
    tape = Tape(watches_code=True)

    installs(shop, tape)

    status = (flash_registers.BASE + flash_registers.SR, flash_registers.BASE + BANK_STEP + 0x10)
    for register in status:
        busy = [a for a in tape.accesses if a.address == register and a.value & (Sr.BSY | Sr.QW)]
        assert busy, "this bank was never seen at work"
        assert all(in_ram(access.code) for access in busy)
    assert not [hex(code) for code in tape.strays]


def test_the_watchdog_is_fed_well_within_its_shortest_period_however_slow_an_erase(
    shop: workshop.Workshop,
) -> None:
    tape = Tape()

    def arrange(board: Board) -> None:
        running_watchdog(board)
        board.flash.erase_seconds = lambda *kind: WORN_OUT  # type: ignore[method-assign]

    # instructions are counted, so that computing takes its time too
    report = installs(shop, tape, arrange=arrange, count=True)

    assert report.seconds["erase"] > WORN_OUT
    assert report.handover is not None
    feeds = [0.0, *tape.feeds(), report.handover.time]
    assert max(later - earlier for earlier, later in pairwise(feeds)) < SHORTEST_PERIOD / 2


# -- before each operation -------------------------------------------------------------------------


def test_error_flags_are_cleared_before_each_operation(shop: workshop.Workshop) -> None:
    """Every flag stands whenever a bank is unlocked; none when an operation begins."""
    tape = Tape()
    unlocked: list[int] = []

    def raise_flags(core: Core, address: int, value: int) -> None:
        number, offset = divmod(address - flash_registers.BASE, BANK_STEP)
        if offset == flash_registers.KEYR and number in (0, 1):
            bank = core.flash.banks[number]
            if not bank.cr & LOCK:
                bank.flags |= ERRORS
                unlocked.append(number)

    def look(op: FlashOp, board: Board) -> None:
        assert tape.core is not None
        bank = tape.core.flash.banks[shop.layout.chip.bank_of(op.address) == 2]
        assert not Sr(bank.flags & ERRORS), op

    tape.written = raise_flags
    report = installs(shop, tape, watch=look)

    assert len(unlocked) == len(report.operations)


def test_each_operation_follows_a_look_at_a_good_supply(shop: workshop.Workshop) -> None:
    """The supply is low the first few times anybody looks after an operation."""
    tape = Tape()
    lows = 5
    looks_left = [lows]
    seen = [0]

    def volts(now: float) -> float:
        looks_left[0] -= 1
        return 2.0 if looks_left[0] >= 0 else 3.3

    def arrange(board: Board) -> None:
        board.supply_volts = volts

    def look(op: FlashOp, board: Board) -> None:
        accesses, seen[0] = tape.accesses[seen[0] :], len(tape.accesses)
        supply = [a.value & PVDO for a in accesses if a.address == peripherals.PWR_CSR1]
        assert len(supply) > lows, op
        assert not supply[-1], op
        looks_left[0] = lows

    installs(shop, tape, arrange=arrange, watch=look)


def test_below_the_supply_threshold_the_loader_waits_feeds_the_watchdog_and_goes_on(
    shop: workshop.Workshop,
) -> None:
    """From power-on on, just below the threshold of the layout; then just above it."""
    threshold = shop.layout.supply_mv / 1000
    good_after = 30.0
    times: list[float] = []

    def arrange(board: Board) -> None:
        running_watchdog(board)
        begin = board.clock.now
        board.supply_volts = lambda now: threshold + (0.01 if now - begin > good_after else -0.01)
        times.append(begin)

    report = installs(shop, arrange=arrange)

    assert report.operations[0].time > times[0] + good_after
    assert report.operations[0].time < times[0] + good_after + SHORTEST_PERIOD


# -- access ----------------------------------------------------------------------------------------


def test_no_access_to_flash_is_unaligned_whatever_the_size_of_the_image(
    shop: workshop.Workshop,
) -> None:
    """Reported by the virtual chip when every load is looked at: tests/sim has the control."""
    for odd in (1, 2, 3):
        installs(shop, size=SMALL // 4 * 4 + odd, strict=True)


# -- caches and MPU --------------------------------------------------------------------------------

XN, NONE, READ_WRITE, READ_ONLY = 1, 0, 3, 6
ENABLE, HFNMIENA = 1, 2


def test_caches_and_mpu_are_as_designed_at_every_flash_operation(shop: workshop.Workshop) -> None:
    """The tables under "Memory" in ``mcu_loader/DESIGN.md``."""
    layout = shop.layout
    not_cached, device = (1, 0, 0), (0, 0, 1)
    rules = {
        0: (0, READ_ONLY, not_cached),
        layout.loader.start: (0, READ_ONLY, (0, 1, 0)),
        layout.staging.start: (XN, READ_WRITE, device),
        layout.app.start: (XN, READ_WRITE, device),
        layout.marks.start: (XN, READ_WRITE, device),
        system_memory.BASE: (XN, NONE, (0, 0, 0)),
        0x2000_0000: (XN, READ_WRITE, not_cached),
        0x2400_0000: (XN, READ_WRITE, not_cached),
        flash_registers.BASE: (XN, READ_WRITE, device),
    }
    tape = Tape()

    def look(op: FlashOp, board: Board) -> None:
        assert tape.core is not None
        system = tape.core.system
        # without a background region, and in force while faults are masked too
        assert system.registers[scs.MPU_CTRL] == ENABLE | HFNMIENA
        assert system.ccr & (scs.ICACHE_ON | scs.DCACHE_ON) == scs.ICACHE_ON
        for address, rule in rules.items():
            region = system.region_of(address)
            assert region is not None, hex(address)
            bits = region.attributes
            cached = (bits >> 19 & 7, bits >> 17 & 1, bits >> 16 & 1)
            assert (bits >> 28 & 1, bits >> 24 & 7, cached) == rule, hex(address)

    installs(shop, tape, watch=look)


# -- the ways out ----------------------------------------------------------------------------------

SRAM_CLOCKS = peripherals.RCC + 0xDC
"""Left on for the application, which finds the result record in one of these memories."""


USB_INTERRUPT = 16 + 101


def everything_runs(core: Core) -> None:
    """Let a careless program have been here: as much as possible is on, pending or raised."""
    for base in (0xE100, 0xE200):
        for word in range(5):
            core.system.write(base + 4 * word, 4, 0xFFFF_FFFF)
    core.system.write(scs.ICSR, 4, 1 << 28)
    core.system.write(scs.SHCSR, 4, 7 << 16)
    traps = 1 << 4 | 1 << 3  # CCR.DIV_0_TRP and UNALIGN_TRP
    core.system.write(scs.CCR, 4, core.system.ccr | scs.ICACHE_ON | scs.DCACHE_ON | traps)
    core.system.write(scs.SYST_RVR, 4, 0xFF_FFFF)
    core.system.write(scs.SYST_CSR, 4, 7)
    everywhere_executable = 3 << 24 | 31 << 1 | 1
    for region in (0, 9):
        core.system.write(scs.MPU_RBAR, 4, 1 << 4 | region)
        core.system.write(scs.MPU_RASR, 4, everywhere_executable)
    core.system.write(scs.MPU_CTRL, 4, 5)
    registers = {
        peripherals.RCC_CR: 0x1501_5085,
        peripherals.RCC_CFGR: 3,
        **{peripherals.RCC + at: 0x44 for at in (0x18, 0x1C, 0x20)},
        **{peripherals.RCC + at: 0x1111_1111 for at in (0x4C, 0x50, 0x54, 0x58)},
        **{peripherals.RCC + at: 0x0FFF_FFFF for at in (0xD4, 0xD8, 0xDC, 0xE8, 0xEC, 0xF0)},
        0x4008_0000 + 0x008: 1,
        0x4000_8400: 0x2060,
        0x5802_0000: 0,
        0x4001_1000: 0xD,
        peripherals.PWR_CR1: 0xF000_C000 | 7 << 5 | 1 << 4,
    }
    for address, value in registers.items():
        core.peripherals.write(address, 4, value)
    core.uc.reg_write(arm_const.UC_ARM_REG_XPSR, 1 << 24 | USB_INTERRUPT)  # out of its handler


def changed(registers: dict[int, int]) -> dict[str, str]:
    """Return what is not as after a reset and should be."""
    return {hex(at): hex(value) for at, value in registers.items() if at != SRAM_CLOCKS}


def test_an_application_finds_the_chip_as_after_reset_whatever_ran_before(
    shop: workshop.Workshop,
) -> None:
    """SysTick, interrupts, clocks, peripherals, supply supervisor, flash, MPU, caches, VTOR."""
    tape = Tape()
    tape.begin = everything_runs

    entered = installs(shop, tape).handover

    assert entered is not None
    assert changed(entered.changed) == {}
    assert entered.vtor == shop.layout.app.start
    core = (entered.primask, entered.faultmask, entered.control, entered.ipsr)
    assert not any(core)
    assert not any((entered.mpu_on, entered.instruction_cache_on, entered.data_cache_on))


def test_what_stands_behind_a_sector_does_not_spoil_it(shop: workshop.Workshop) -> None:
    """The core may read ahead of a loop: there is a torn word, as a cut in an erase leaves it."""

    def arrange(board: Board) -> None:
        board.flash.plant(shop.layout.app.start + SECTOR_SIZE, Word.POISONED)

    report = installs(shop, arrange=arrange)

    assert [op.kind for op in report.operations if op.address == shop.layout.app.start] == [
        OpKind.ERASE,
        OpKind.PROGRAM,
    ]


def test_a_loader_that_sleeps_after_faults_feeds_the_watchdog(shop: workshop.Workshop) -> None:
    """A handler of faults that slept could not be woken to do it."""
    board = shop.board(shop.image(SIZE))
    running_watchdog(board)
    board.flash.plant(shop.address_of("rules"), Word.POISONED)

    report = board.boot(limit_seconds=LIMIT / 2, strict=False)

    assert report.outcome is Outcome.STAYS_PARKED
    assert report.resets == ["reset"] * 3


def test_an_application_finds_no_fault_flags_after_a_torn_word_was_read(
    shop: workshop.Workshop,
) -> None:
    def arrange(board: Board) -> None:
        board.flash.plant(shop.layout.marks.start + RECORD_SIZE, Word.POISONED)

    entered = installs(shop, arrange=arrange).handover

    assert entered is not None
    assert changed(entered.changed) == {}


def test_the_rom_is_entered_as_after_reset_whatever_ran_before(shop: workshop.Workshop) -> None:
    board = prepared(shop, SMALL).board
    board.program({shop.layout.app.start: bytes(32), shop.layout.staging.start: bytes(32)})
    tape = Tape()
    tape.begin = everything_runs

    with taped(tape):
        report = board.boot(strict=False)

    assert report.outcome is Outcome.STAYS_IN_ROM
    assert tape.core is not None
    assert changed(tape.core.changed()) == {}


# -- the way in ------------------------------------------------------------------------------------


def test_an_update_dropped_over_any_rom_installs_when_that_rom_leaves(
    shop: workshop.Workshop,
) -> None:
    """Leaving is a jump, not a reset: USB, its clock and recovery system are still on."""
    for rom_id in sorted(ROM_VERSIONS):
        installs_after_leave(shop, rom_id, watchdog=False)
    installs_after_leave(shop, 0x90, watchdog=True)


def installs_after_leave(shop: workshop.Workshop, rom_id: int, *, watchdog: bool) -> None:
    new = shop.image(SMALL, seed=2)
    update = seal(shop, new)
    board = shop.board(shop.image(SIZE, seed=1), rom_id=rom_id)
    if watchdog:
        running_watchdog(board)
    board.boot(boot0=True)
    with open_device(backend=board.usb_backend(), clock=board.clock) as device:
        rehearse.drop_over(device, update)
        device.leave(BOOT_ADDRESS)

    report = board.boot_after_leave(limit_seconds=LIMIT / 5, strict=False)

    assert workshop.runs(report)
    assert not report.resets
    assert shop.app_is(board, new)
    assert board.read(shop.layout.staging.start, HEADER_SIZE) == b"\xff" * HEADER_SIZE
    assert report.handover is not None
    left = changed(report.handover.changed)
    assert left.keys() <= {hex(peripherals.PWR_CR3)}, "one ROM locks it: it is left as it was"
