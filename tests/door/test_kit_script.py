"""The kit's script for dfu-util, with the stock dfu-util, on a device whose loader is on USB."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop
from bus.conftest import bus, dfu_util  # noqa: F401
from bus.mocked_bus import MockedBus
from workshop import Workshop

from packager.kit.make import make_kit
from packager.virtual_door import start_in_dfu

SIZE = 3000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The protected product."""
    tool = workshop.needs("gcc")
    layout = workshop.layout_named("h743_protected")
    return workshop.make_workshop(tmp_path_factory.mktemp("kit"), layout, tool)


def test_it_writes_reads_back_and_the_next_power_on_installs(
    shop: Workshop,
    bus: MockedBus,  # noqa: F811
    dfu_util: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert dfu_util
    new = shop.image(SIZE, seed=2)
    (tmp_path / "update.bin").write_bytes(shop.update(new))
    make_kit(tmp_path / "update.bin", tmp_path / "kit", shop.layout.path)
    board = shop.board(shop.image(SIZE))
    board.protect(1)
    start_in_dfu(board, "board")

    with bus.with_board(board):
        ended = bus.run(["sh", tmp_path / "kit" / "install-with-dfu-util.sh"])

    assert ended.code == 0, ended.out
    assert "DONE: the update is in the device" in ended.out
    assert workshop.runs(board.boot())
    assert shop.app_is(board, new)
