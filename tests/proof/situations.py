"""Boards for glitches: an update that must not be installed, or an app that must not be started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import workshop

from packager.chip import SECTOR_SIZE
from packager.format import HEADER_SIZE
from packager.layout import Layout
from packager.records import AppState
from packager.sim.board import Board

_IMAGE_SIZE, _OLD_COUNTER = 1500, 5
_IN_THE_SIGNATURE, _IN_THE_PAYLOAD, _IN_THE_APP = HEADER_SIZE - 30, HEADER_SIZE + 700, 1200
_HALF_AN_INSTALL = "20-after"


class Situation(NamedTuple):
    """A board at power-on, and what an undisturbed boot makes of it."""

    name: str
    board: Board
    layout: Layout
    app_may_run: bool
    """The old app runs; otherwise the loader stays."""


def situation(name: str, shop: workshop.Workshop) -> Situation:
    """Make the board of a situation in :data:`NAMES`."""
    if name in _STAGED:
        return _staged(name, shop, _STAGED[name](shop))
    made = {DAMAGED: _damaged_app, HALF: _half_an_install, UNMARKED: _without_marks}
    return made[name](shop)


def _staged(name: str, shop: workshop.Workshop, update: bytes) -> Situation:
    board = _old_board(shop)
    shop.stage(board, update)
    return Situation(name, board, shop.layout, app_may_run=True)


def _damaged_app(shop: workshop.Workshop) -> Situation:
    board = _old_board(shop)
    damaged = _flipped(shop.image(_IMAGE_SIZE, 1), _IN_THE_APP)
    board.program({shop.layout.app.start: damaged})
    return Situation(DAMAGED, board, shop.layout, app_may_run=False)


def _half_an_install(shop: workshop.Workshop) -> Situation:
    board = _old_board(shop)
    shop.stage(board, _update(shop))
    board.boot(cut=_HALF_AN_INSTALL, strict=False)
    assert shop.records(board)[-1].state is AppState.INSTALLING
    board.program({shop.layout.staging.start: bytes(SECTOR_SIZE)})
    return Situation(HALF, board, shop.layout, app_may_run=False)


def _without_marks(shop: workshop.Workshop) -> Situation:
    board = _old_board(shop)
    board.program({shop.layout.marks.start: b"\xff" * SECTOR_SIZE})
    return Situation(UNMARKED, board, shop.layout, app_may_run=False)


def _old_board(shop: workshop.Workshop) -> Board:
    return shop.board(shop.image(_IMAGE_SIZE, 1), "1.0.0", _OLD_COUNTER)


def _update(shop: workshop.Workshop, counter: int = _OLD_COUNTER + 1) -> bytes:
    return shop.update(shop.image(_IMAGE_SIZE, 2), "2.0.0", counter)


def _of_another_product(shop: workshop.Workshop) -> bytes:
    name = shop.layout.product_id
    return _update(replace(shop, layout=replace(shop.layout, product_id=name[:-1] + "~")))


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


_STAGED: dict[str, Callable[[workshop.Workshop], bytes]] = {
    "forged signature": lambda shop: _flipped(_update(shop), _IN_THE_SIGNATURE),
    "too old counter": lambda shop: _update(shop, _OLD_COUNTER - 1),
    "other product": _of_another_product,
    "altered payload": lambda shop: _flipped(_update(shop), _IN_THE_PAYLOAD),
}
FORGED, DAMAGED = "forged signature", "damaged app"
HALF, UNMARKED = "half an install", "no marks"
NAMES = (*_STAGED, DAMAGED, HALF, UNMARKED)
