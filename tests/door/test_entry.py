"""Who opens the loader's own door, who does not, and what is in memory while it stands open."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import workshop

from packager import toolchain
from packager.export import SCRIPT_FILE, export_layout
from packager.format import INFO_OFFSET, INFO_SIZE, BootCheck
from packager.image import load_image
from packager.keys import load_device_keys
from packager.layout import Entry, Indicator, Layout
from packager.loader_build import build_loader
from packager.resources import loader_sources
from packager.sim import scs
from packager.sim.board import Board, Outcome
from packager.toolchain import compile_link

from .otg_scene import device_of

LAYOUT = "h743_protected"
EVERY_WAY = Entry(("C", 13), True, True, 3)
HANGS = bytes.fromhex("fee7")
"""b . as the first instruction."""


def layout_with(entry: Entry, name: str) -> Layout:
    found = workshop.layout_named(LAYOUT)
    return dataclasses.replace(found, entry=entry, path=found.path.with_stem(name))


Make = Callable[..., workshop.Workshop]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("entry")
    made: dict[tuple[str, Entry], workshop.Workshop] = {}

    def get(entry: Entry = EVERY_WAY, tool: str = "gcc") -> workshop.Workshop:
        workshop.needs(tool)
        if (tool, entry) not in made:
            layout = layout_with(entry, f"entry{len(made)}")
            made[tool, entry] = workshop.make_workshop(folder, layout, tool)
        return made[tool, entry]

    return get


def application(shop: workshop.Workshop, folder: Path, body: str) -> bytes:
    """Build an application of one statement, by what is exported for the layout."""
    export_layout(shop.layout, folder)
    source = folder / "main.c"
    source.write_text(
        f'#include "splitflash_layout.h"\nint main(void);\nint main(void) {{ {body} }}\n'
    )
    startup = loader_sources() / "examples" / "startup.c"
    elf = compile_link(
        [startup, source],
        folder / SCRIPT_FILE,
        folder / "app.elf",
        toolchain=shop.loader.toolchain,
        include=[folder],
    )
    return load_image(elf, shop.layout).data


def ends_in(board: Board, outcome: Outcome, **boot: object) -> None:
    report = board.boot(**boot)  # type: ignore[arg-type]
    assert report.outcome is outcome, report
    assert not report.faults


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_nobody_asks_and_the_application_runs_as_after_reset(make: Make, tool: str) -> None:
    shop = make(tool=tool)
    board = shop.board(shop.image(2000))
    report = board.boot()
    assert report.outcome is Outcome.APP_RUNS
    entered = report.handover
    assert entered is not None
    assert not any((entered.mpu_on, entered.usb_clock_on, entered.systick_control))
    assert entered.vtor == shop.layout.app.start


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_a_start_with_full_marks_and_no_update_takes_few_instructions(
    make: Make, tool: str, tmp_path: Path
) -> None:
    made = make(tool=tool)
    layout = dataclasses.replace(made.layout, boot_check=BootCheck.OFF)
    loader = build_loader(layout, made.keys, tmp_path, toolchain=tool)
    quick = dataclasses.replace(made, layout=layout, loader=loader)
    board = quick.board(quick.image(100_000))
    record = board.read(layout.marks.start, 128)
    board.program({layout.marks.start: record * 1020})
    report = board.boot(count=True)
    assert report.outcome is Outcome.APP_RUNS
    assert report.instructions is not None
    assert report.instructions <= 8500


@pytest.mark.parametrize("tool", toolchain.NAMES)
@pytest.mark.parametrize("high", [True, False])
def test_a_pin_held_at_reset_opens_it(make: Make, tool: str, high: bool) -> None:
    shop = make(Entry(("C", 13), high, True, 3), tool)
    board = shop.board(shop.image(2000))
    ends_in(board, Outcome.APP_RUNS)
    board.pins["PC13"] = high
    ends_in(board, Outcome.STAYS_IN_DFU)
    board.pins["PC13"] = not high
    ends_in(board, Outcome.APP_RUNS)


def test_reset_twice_opens_it_until_the_application_is_alive(make: Make, tmp_path: Path) -> None:
    shop = make()
    board = shop.board(shop.image(2000))
    ends_in(board, Outcome.APP_RUNS)
    assert board.press_reset().outcome is Outcome.STAYS_IN_DFU
    assert board.press_reset().outcome is Outcome.APP_RUNS
    assert board.press_reset().outcome is Outcome.STAYS_IN_DFU
    ends_in(board, Outcome.APP_RUNS)  # without power for a while

    board = shop.board(application(shop, tmp_path, "splitflash_alive(); return 0;"))
    ends_in(board, Outcome.APP_RUNS)
    for _ in range(3):
        assert board.press_reset().outcome is Outcome.APP_RUNS


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_a_light_blinks_twice_a_second_while_it_stands_open(
    make: Make, tmp_path: Path, tool: str
) -> None:
    made = make(tool=tool)
    layout = dataclasses.replace(made.layout, indicator=Indicator(("E", 1), True))
    loader = build_loader(layout, made.keys, tmp_path, toolchain=tool)
    shop = dataclasses.replace(made, layout=layout, loader=loader)
    board = shop.board(shop.image(2000))
    board.pins["PC13"] = True
    ends_in(board, Outcome.STAYS_IN_DFU)
    device = device_of(board)
    for _ in range(100):
        board.clock.sleep(0.02)
        device.bus_reset()
    assert {change.name for change in board.pins.changes} == {"PE1"}
    times = [change.time for change in board.pins.changes]
    assert len(times) >= 7
    for earlier, later in itertools.pairwise(times):
        assert later - earlier == pytest.approx(0.262, abs=0.03)


def test_reset_twice_means_nothing_where_the_layout_does_not_say_so(make: Make) -> None:
    shop = make(Entry(("C", 13), True, False, 0))
    board = shop.board(shop.image(2000))
    ends_in(board, Outcome.APP_RUNS)
    for _ in range(3):
        assert board.press_reset().outcome is Outcome.APP_RUNS


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_an_application_that_hangs_at_once_opens_it(make: Make, tool: str) -> None:
    shop = make(Entry(None, False, False, 3), tool)
    image = shop.image(2000)
    at = workshop.CODE_OFFSET
    board = shop.board(image[:at] + HANGS + image[at + 2 :])
    report = board.boot(app_seconds=300.0)
    assert report.outcome is Outcome.STAYS_IN_DFU
    assert report.resets == ["watchdog"] * 3
    report = board.press_reset(app_seconds=300.0)
    assert report.outcome is Outcome.STAYS_IN_DFU, "and it had all its chances again"
    assert report.resets.count("watchdog") == 3


def test_an_application_that_resets_itself_again_and_again_opens_it(
    make: Make, tmp_path: Path
) -> None:
    shop = make(Entry(None, False, False, 3))
    reset = "*(volatile uint32_t *)0xE000ED0Cu = 0x05FA0004u; for (;;) { }"
    board = shop.board(application(shop, tmp_path, reset))
    report = board.boot()
    assert report.outcome is Outcome.STAYS_IN_DFU
    assert report.resets == ["reset"] * 3


def test_an_application_that_is_alive_between_bites_does_not_open_it(
    make: Make, tmp_path: Path
) -> None:
    shop = make(Entry(None, False, False, 2))
    board = shop.board(application(shop, tmp_path, "splitflash_alive(); return 0;"))
    report = board.boot(limit_seconds=150.0, app_seconds=150.0)
    assert report.outcome is not Outcome.STAYS_IN_DFU
    assert report.resets == ["watchdog"] * 4


def test_the_application_opens_it(make: Make, tmp_path: Path) -> None:
    shop = make()
    board = shop.board(application(shop, tmp_path, "splitflash_enter_dfu(); return 0;"))
    report = board.boot()
    assert report.outcome is Outcome.STAYS_IN_DFU
    assert report.resets == ["reset"]


def test_without_an_application_it_is_open(make: Make) -> None:
    shop = make()
    board = shop.board(shop.image(2000))
    app = shop.layout.app
    board.program({app.start: b"\xff" * 64})
    ends_in(board, Outcome.STAYS_IN_DFU)


# -- what is in memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_no_key_and_no_plain_text_is_in_ram_while_it_is_open(make: Make, tool: str) -> None:
    shop = make(tool=tool)
    image = shop.image(40_000, 3)
    board = shop.board(shop.image(2000))
    shop.stage(board, shop.update(image))
    board.flash.faults.erase_errors[shop.layout.app.start] = 1000
    ends_in(board, Outcome.STAYS_IN_DFU)
    secret = load_device_keys(shop.keys)[0].secret
    pieces = {secret, *(image[at : at + 32] for at in range(1024, len(image) - 32, 32))}
    for ram in shop.layout.chip.ram:
        memory = board.rams.read(ram.span.start, ram.span.size) or b""
        assert not any(piece in memory for piece in pieces), ram.name
    assert not any(board.rams.read(0x2000_0000, 0x1800) or b"\1"), "the stack below the door's own"


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_the_mpu_closes_the_keys_and_the_vectors_are_in_itcm(make: Make, tool: str) -> None:
    shop = make(tool=tool)
    board = shop.board(shop.image(2000))
    board.pins["PC13"] = True
    ends_in(board, Outcome.STAYS_IN_DFU)
    core = board._inside.system
    assert 0 < core.vtor < 0x1_0000
    keys = shop.layout.loader.start + INFO_OFFSET + INFO_SIZE
    secret = load_device_keys(shop.keys)[0].secret
    assert secret in board.read(keys, 256)
    rules_masked_faults = 2  # MPU_CTRL.HFNMIENA: flash is read with FAULTMASK set
    assert core.registers[scs.MPU_CTRL] & rules_masked_faults
    for address in (keys, keys + 255):
        region = core.region_of(address)
        assert region is not None
        assert (region.base, region.size) == (keys, 256)
        assert region.attributes >> 24 & 7 == 0, "AP: no access"
    beside = core.region_of(keys + 256)
    assert beside is not None
    assert not beside.execute_never


@pytest.mark.parametrize("tool", toolchain.NAMES)
@pytest.mark.parametrize("base", [workshop.DEFAULT, workshop.MIRROR, workshop.SMALL_CHIP])
def test_every_request_is_answered_while_a_bank_is_busy(
    tmp_path: Path, base: str, tool: str
) -> None:
    # the simulator reports any fetch or load from the bank that is being erased
    workshop.needs(tool)
    door = workshop.layout_named(LAYOUT)
    layout = dataclasses.replace(
        workshop.layout_named(base), recovery=door.recovery, entry=EVERY_WAY, usb=door.usb
    )
    shop = workshop.make_workshop(tmp_path, layout, tool)
    board = shop.board(shop.image(2000))
    board.pins["PC13"] = True
    ends_in(board, Outcome.STAYS_IN_DFU)
    device = board.device
    assert device is not None
    name = device.control(0x80, 6, 0x0304, 0x409, 255)[2:].decode("utf-16-le")
    staging = layout.staging
    sectors = staging.size // (128 * 1024)
    assert name == f"@Internal Flash   /0x{staging.start:08X}/{sectors:02}*128Kg"
    device.control(0x21, 1, 0, 0, b"\x41" + staging.start.to_bytes(4, "little"))
    assert device.control(0xA1, 3, 0, 0, 6)[4] == 4
    # virtual time flies while the status register is polled: a few requests fill an erase
    began, busy = board.clock.now, 0
    kinds = itertools.cycle((0x200, 0x304, 0xF00, 0x303, 0x100))
    while device.control(0xA1, 3, 0, 0, 6)[4] == 4:
        assert device.control(0x80, 6, next(kinds), 0x409, 255)
        busy += 1
    assert busy >= 2
    assert board.clock.now - began < 3.0
    assert device.control(0xA1, 5, 0, 0, 1) == b"\5"
