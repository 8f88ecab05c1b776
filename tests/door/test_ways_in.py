"""How a virtual board gets into its loader's DFU, and what is said when it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import workshop
from workshop import Workshop

from packager.dfu.listing import look_at
from packager.dfu.replies import RequestRefusedError
from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.status import OPTION_WORD
from packager.dfu.usb import find_devices, open_device
from packager.errors import NoDeviceError
from packager.layout import Entry, Layout, Usb
from packager.sim.board import Board, Outcome
from packager.virtual_door import start_in_dfu

SIZE = 3000
FOR_EVER = bytes.fromhex("fee7")
"""b . (a branch to itself)."""
WATCHDOG = Entry(watchdog_resets=3)
OWN_IDS = Usb(vid=0x1209, pid=0x0001, manufacturer="maker", product="thing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ways")


def shop_of(folder: Path, **changes: Entry | Usb) -> Workshop:
    """Return the protected product with other entries or names."""
    layout: Layout = replace(workshop.layout_named("h743_protected"), **changes)  # type: ignore[arg-type]
    name = "-".join(str(hash(change)) for change in changes.values())
    return workshop.make_workshop(folder / name, layout, workshop.needs("gcc"))


def hanging_image(shop: Workshop) -> bytes:
    image = shop.image(SIZE, seed=1)
    return image[: workshop.CODE_OFFSET] + FOR_EVER + image[workshop.CODE_OFFSET + 2 :]


@pytest.mark.parametrize("level", [1, 2])
def test_a_version_that_hangs_is_replaced_where_only_the_watchdog_tells(
    folder: Path, level: int
) -> None:
    shop = shop_of(folder, entry=WATCHDOG)
    good = shop.image(SIZE, seed=2)
    board = shop.board(hanging_image(shop))
    board.protect(level)

    start_in_dfu(board, "board")
    with open_device(backend=board.usb_backend(), clock=board.clock) as device:
        run_plan(prepare_drop(shop.update(good), device), device)
        device.leave(shop.layout.loader.start)

    assert workshop.runs(board.go_on())
    assert shop.app_is(board, good)


def test_it_is_given_its_resets_anew_after_a_power_cycle(folder: Path) -> None:
    shop = shop_of(folder, entry=WATCHDOG)
    board = shop.board(hanging_image(shop))

    reports = [board.boot(limit_seconds=600, app_seconds=600) for _ in range(2)]

    assert [report.outcome for report in reports] == [Outcome.STAYS_IN_DFU] * 2
    assert [report.resets for report in reports] == [["watchdog"] * 3] * 2


def test_the_pin_is_held_and_let_go(folder: Path) -> None:
    shop = shop_of(folder, entry=Entry(pin=("C", 13), pin_is_high=True))
    board = shop.board(shop.image(SIZE))

    start_in_dfu(board, "board")

    assert board.device is not None
    assert board.pins["PC13"] is None


def test_a_board_without_such_a_loader_has_only_its_rom() -> None:
    board = Board.new(workshop.layout_named("h743_protected").chip)

    with pytest.raises(NoDeviceError, match="no loader with a DFU of its own"):
        start_in_dfu(board, "sim:board", boot0=False)
    start_in_dfu(board, "sim:board")
    assert board.rom is not None


def test_a_loader_is_found_by_its_release_number_whatever_its_ids(folder: Path) -> None:
    shop = shop_of(folder, usb=OWN_IDS)
    board = shop.board(shop.image(SIZE))
    board.protect(1)
    start_in_dfu(board, "board")

    (found,) = find_devices(board.usb_backend())

    assert (found.handle.idVendor, found.handle.idProduct) == (0x1209, 0x0001)
    listed = look_at("x", lambda: open_device(backend=board.usb_backend(), clock=board.clock))
    assert "on USB itself, read-protected (RDP level 1)" in listed.who
    assert listed.as_dict()["bootloader"] == "splitflash loader"
    assert listed.as_dict()["rom"] is None


def test_shown_option_bytes_are_read_in_full_and_never_taken_for_staging(folder: Path) -> None:
    shop = shop_of(folder, usb=Usb(option_bytes_are_readable=True))
    board = shop.board(shop.image(SIZE))
    board.protect(1)
    start_in_dfu(board, "board")

    with open_device(backend=board.usb_backend(), clock=board.clock) as device:
        options = device.upload(OPTION_WORD, 308)
        with pytest.raises(RequestRefusedError):
            device.write_blocks(OPTION_WORD + 4, b"\xaa" * 32)

    assert options[1] == 0x55
    assert device.memory_map is not None
    assert device.memory_map.segments[0].start == shop.layout.staging.start
    assert board.flash.options.rdp_level == 1
