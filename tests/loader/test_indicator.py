"""The light that a layout may name: what it says, and that nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import workshop

from packager import toolchain
from packager.format import Recovery
from packager.layout import Indicator
from packager.sim.board import Board, Outcome
from packager.sim.operations import OpKind

pytestmark = pytest.mark.parametrize("tool", toolchain.NAMES)

BUTTONS = {True: ("PB0", Indicator(("B", 0), True)), False: ("PK7", Indicator(("K", 7), False))}
"""The pin's name and the light of a layout, by the level that lights it."""


@pytest.fixture(params=[True, False], ids=["lit by high", "lit by low"])
def lit_by(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory, tool: str, lit_by: bool) -> workshop.Workshop:
    return shop_with(tmp_path_factory, tool, lit_by, Recovery.ROM)


def shop_with(
    factory: pytest.TempPathFactory, tool: str, lit_by: bool, recovery: Recovery
) -> workshop.Workshop:
    workshop.needs(tool)
    plain = workshop.layout_named(workshop.DEFAULT)
    layout = replace(plain, indicator=BUTTONS[lit_by][1], recovery=recovery)
    return workshop.make_workshop(factory.mktemp("indicator"), layout, tool)


def light(board: Board, lit_by: bool) -> list[tuple[float, bool | None]]:
    """Return when the light went on (True), off (False), or was let go of (None)."""
    name = BUTTONS[lit_by][0]
    assert {change.name for change in board.pins.changes} <= {name}
    return [
        (change.time, None if change.level is None else change.level == lit_by)
        for change in board.pins.changes
    ]


def test_it_is_steady_while_an_update_is_checked_and_installed(
    shop: workshop.Workshop, lit_by: bool
) -> None:
    board = shop.board(shop.image(2000))
    shop.stage(board, shop.update(shop.image(3000, 2)))
    report = board.boot(strict=False)
    assert workshop.runs(report)
    (on, is_on), (off, is_off) = light(board, lit_by)
    assert (is_on, is_off) == (True, None)
    erased = [op for op in report.operations if op.kind is OpKind.ERASE]
    assert len(erased) >= 2
    assert off - on > 0.9 * len(erased)


def test_three_blinks_say_that_an_update_was_refused(shop: workshop.Workshop, lit_by: bool) -> None:
    board = shop.board(shop.image(2000), "2.0.0", 5)
    shop.stage(board, shop.update(shop.image(3000, 2), "3.0.0", 4))
    assert workshop.runs(board.boot())
    changes = light(board, lit_by)
    assert [level for _, level in changes] == [True, False, True, False, True, False, None]
    times = [time for time, _ in changes]
    for earlier, later in pairwise(times[:6]):
        assert later - earlier == pytest.approx(0.2, rel=0.05)


def test_it_stays_dark_when_there_is_nothing_to_say(shop: workshop.Workshop, lit_by: bool) -> None:
    board = shop.board(shop.image(2000))
    assert workshop.runs(board.boot())
    board.program({shop.layout.app.start: bytes(64)})
    assert board.boot().outcome is Outcome.STAYS_IN_ROM
    assert light(board, lit_by) == []


def test_it_blinks_while_a_loader_without_a_door_waits(
    tmp_path_factory: pytest.TempPathFactory, tool: str, lit_by: bool
) -> None:
    shop = shop_with(tmp_path_factory, tool, lit_by, Recovery.NONE)
    board = shop.board(shop.image(2000))
    board.program({shop.layout.app.start: bytes(64)})
    assert board.boot().outcome is Outcome.STAYS_PARKED
    levels = [level for _, level in light(board, lit_by)]
    assert len(levels) >= 2
    assert all(a != b for a, b in pairwise(levels))


def test_the_app_finds_the_port_as_after_reset(shop: workshop.Workshop, lit_by: bool) -> None:
    board = shop.board(shop.image(2000))
    shop.stage(board, shop.update(shop.image(3000, 2)))
    report = board.boot(strict=False)
    assert report.handover is not None
    gpio = range(0x5802_0000, 0x5802_2C00)
    assert not [address for address in report.handover.changed if address in gpio]
