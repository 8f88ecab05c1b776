"""Where the application finds what the loader did: one address in every layout, read by its C code.

Which action and reason it finds is shown for every way a boot can go in ``test_stories.py`` and
``test_refusals.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import told
import workshop
from refusals import flip

from packager import toolchain
from packager.examples import build_example
from packager.format import RESULT_SIZE, pack_version
from packager.image import load_image
from packager.reasons import Reason
from packager.records import Action, ResultRecord, build_result
from packager.sim.peripherals import ResetCause

LAYOUTS = (workshop.DEFAULT, workshop.MIRROR, workshop.SMALL_CHIP)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_record_lies_where_the_layout_says(build: workshop.Build, layout: str) -> None:
    shop = build(layout)
    board = shop.board(shop.image(2000), "1.2.3", 7)

    result = told.boot(board, shop.layout).result

    assert result == ResultRecord(
        shop.loader.info.loader_version,
        Action.BOOTED,
        Reason.NONE,
        pack_version("1.2.3"),
        7,
        ResetCause.POWER_ON,
    )


def test_the_record_is_written_anew_at_every_start(shop: workshop.Workshop) -> None:
    board = shop.board(shop.image(2000))
    shop.stage(board, flip(100)(shop.update(shop.image(2000, 2))))

    first = told.boot(board, shop.layout).result
    second = told.boot(board, shop.layout).result

    assert first is not None
    assert second is not None
    assert (first.action, second.action) == (Action.REFUSED, Action.BOOTED)
    assert second.reason is Reason.NONE


def test_nothing_in_ram_after_power_on_passes_for_a_record(shop: workshop.Workshop) -> None:
    board = shop.board(shop.image(2000))
    board.rams.power_on()

    found = board.read(shop.layout.result_record, RESULT_SIZE)

    record = ResultRecord(0, Action.BOOTED, Reason.NONE, 0, 0, 0)
    assert found[:8] != build_result(record)[:8]


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_the_example_application_says_what_the_loader_did(
    build: workshop.Build, tmp_path: Path, tool: str
) -> None:
    shop = build(workshop.DEFAULT, tool)
    app = load_image(build_example("2.0.0", shop.layout, tmp_path, tool), shop.layout).data
    board = shop.board(app, "2.0.0", 4)
    update = shop.update(shop.image(3000, 2), "3.0.0", 4)
    said = {}
    for name, staged in (("nothing", b"\xff" * 32), ("payload", flip(-1)(update))):
        shop.stage(board, staged)
        said[name] = board.boot(app_seconds=0.1).uart.splitlines()[-1]

    assert said == {
        "nothing": "the loader booted, installed version 2.0.0, security counter 4, reason 0",
        "payload": "the loader refused an update, installed version 2.0.0, security counter 4,"
        " reason 16: the drop was interrupted, drop the file again",
    }


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_an_application_that_no_loader_started_finds_no_record(
    build: workshop.Build, tmp_path: Path, tool: str
) -> None:
    """Its vectors lie where those of the loader would: a board never made for updates."""
    shop = build(workshop.DEFAULT, tool)
    app = load_image(build_example("2.0.0", shop.layout, tmp_path, tool), shop.layout).data
    board = shop.board(app)
    board.program({shop.layout.loader.start: app[:64]})

    report = board.boot(app_seconds=0.1)

    assert report.uart.splitlines()[-1] == "started without the loader"
