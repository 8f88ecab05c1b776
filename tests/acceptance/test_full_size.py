"""The largest real work: a full image over DfuSe into the app area, byte for byte."""

from __future__ import annotations

import pytest
import workshop

from packager import rehearse
from packager.records import AppState
from packager.resources import layouts
from packager.sim.board import Board
from packager.sim.operations import FlashOp, OpKind

WINDOW = 16


WATCHED = (workshop.DEFAULT, workshop.MIRROR, workshop.SMALL_CHIP)
OTHERS = sorted({path.stem for path in layouts().glob("*.yaml")} - set(WATCHED))


@pytest.mark.parametrize("tool", ["gcc", "zig"])
@pytest.mark.parametrize("layout_name", WATCHED)
def test_the_largest_image_is_dropped_and_installed_and_staging_watched_all_the_while(
    build: workshop.Build, layout_name: str, tool: str
) -> None:
    shop = build(layout_name, tool)
    old, new = shop.image(2_000, seed=1), shop.image(shop.layout.largest_image, seed=2)
    update = shop.update(new)
    board = shop.board(old)
    rehearse.drop(board, update)
    staging = shop.layout.staging
    dropped = board.read(staging.start, staging.size)
    unexpected: list[FlashOp] = []

    def staging_holds_what_was_dropped(op: FlashOp, board: Board) -> None:
        if board.read(staging.start, staging.size) == dropped:
            return
        if op.kind is not OpKind.ERASE or op.address != staging.start:
            unexpected.append(op)

    report = board.boot(on_operation=staging_holds_what_was_dropped)

    assert workshop.runs(report), report
    assert shop.app_is(board, new)
    assert shop.is_header_blank(board)
    assert not unexpected, "staging changed otherwise than by erasing the header's sector"
    assert no_plaintext_in(dropped, new)
    assert shop.records(board)[-1].state is AppState.INSTALLED
    assert not any(not op.virgin for op in report.operations)


@pytest.mark.parametrize("layout_name", OTHERS)
def test_the_largest_image_of_every_other_layout_is_dropped_and_installed(
    build: workshop.Build, layout_name: str
) -> None:
    shop = build(layout_name)
    new = shop.image(shop.layout.largest_image, seed=2)
    board = shop.board(shop.image(2_000, seed=1))
    rehearse.drop(board, shop.update(new))

    assert workshop.runs(board.boot())
    assert shop.app_is(board, new)


def test_a_smaller_version_leaves_nothing_of_the_larger_one_behind(
    shop: workshop.Workshop,
) -> None:
    app = shop.layout.app
    old, new = shop.image(shop.layout.largest_image, seed=1), shop.image(2_000, seed=2)
    board = shop.board(old)
    kept_by_the_app = b"settings of the old one".ljust(32, b"\0")
    board.program({app.end - 32: kept_by_the_app})
    shop.stage(board, shop.update(new))

    assert workshop.runs(board.boot())
    assert board.read(app.start, app.size) == new.ljust(app.size, b"\xff")


def no_plaintext_in(staging: bytes, image: bytes) -> bool:
    """Look for aligned windows of the image at any offset of staging."""
    windows = {image[at : at + WINDOW] for at in range(0, len(image) - WINDOW, WINDOW)}
    windows = {window for window in windows if len(set(window)) > 2}
    return not any(staging[at : at + WINDOW] in windows for at in range(len(staging) - WINDOW))


def test_the_search_for_plaintext_finds_it_at_any_offset(shop: workshop.Workshop) -> None:
    image = shop.image(4_000)

    assert not no_plaintext_in(b"\xff" * 13 + image[320:352] + b"\xff" * 50, image)
