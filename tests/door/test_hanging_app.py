"""A version that hangs at its first instruction, on a protected device, replaced by a cable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import workshop
from bus.conftest import bus, dfu_util  # noqa: F401
from bus.mocked_bus import MockedBus
from workshop import Workshop

from packager.layout import Entry
from packager.sim.board import Board, Outcome

SIZE = 3000
FOR_EVER = bytes.fromhex("fee7")
"""b . (a branch to itself)."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The protected product, which has no button: only the watchdog tells that it hangs."""
    tool = workshop.needs("gcc")
    layout = workshop.layout_named("h743_protected")
    layout = replace(layout, entry=Entry(watchdog_resets=3))
    return workshop.make_workshop(tmp_path_factory.mktemp("hanging"), layout, tool)


def hanging_image(shop: Workshop) -> bytes:
    image = shop.image(SIZE, seed=1)
    return image[: workshop.CODE_OFFSET] + FOR_EVER + image[workshop.CODE_OFFSET + 2 :]


def left_alone(board: Board) -> list[str]:
    """Switch it on and wait until somebody could plug in a cable; return why it was reset."""
    report = board.boot(limit_seconds=600, app_seconds=600)
    assert report.outcome is Outcome.STAYS_IN_DFU
    return report.resets


@pytest.mark.parametrize("level", [1, 2])
def test_stock_dfu_util_replaces_it(
    shop: Workshop,
    bus: MockedBus,  # noqa: F811
    dfu_util: str,  # noqa: F811
    tmp_path: Path,
    level: int,
) -> None:
    good = shop.image(SIZE, seed=2)
    (tmp_path / "update.bin").write_bytes(shop.update(good))
    board = shop.board(hanging_image(shop))
    board.protect(level)

    assert left_alone(board) == ["watchdog"] * 3
    raw = ["-a", "0", "-s", f"0x{shop.layout.staging.start:08X}:leave", "-D", "update.bin"]
    with bus.with_board(board):
        ended = bus.run([dfu_util, *raw], cwd=tmp_path)
    assert ended.code == 0, ended.out
    assert workshop.runs(board.go_on())
    assert shop.app_is(board, good)


def test_a_version_that_hangs_is_given_its_resets_anew_after_a_power_cycle(shop: Workshop) -> None:
    board = shop.board(hanging_image(shop))

    assert left_alone(board) == left_alone(board) == ["watchdog"] * 3
