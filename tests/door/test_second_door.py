"""The second door: an application takes an update over a serial line and has it installed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import workshop

from packager import toolchain
from packager.chip import FLASH_WORD, KIB, SECTOR_SIZE, Span
from packager.examples import build_example
from packager.format import HEADER_SIZE, UPDATE_MAGIC
from packager.image import load_image
from packager.resources import loader_sources
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.operations import Cut

BLOCK = 256
SOURCE = loader_sources() / "examples" / "splitflash_stage.c"


class Sender:
    """The person's side of the line: a block whenever the application asks for one."""

    def __init__(self, board: Board, update: bytes, announced: int | None = None) -> None:
        self.board = board
        self.blocks = [update[at : at + BLOCK] for at in range(0, len(update), BLOCK)]
        self.heard = bytearray()
        size = len(update) if announced is None else announced
        board.on_serial(self._hear)
        board.send_serial(b"U" + size.to_bytes(4, "little"))

    def _hear(self, byte: int) -> None:
        # the dots between "send an update" and the end of the transfer
        self.heard.append(byte)
        if self.heard.endswith(b"\n"):
            return
        if byte == ord(".") and b"send an update\n" in self.heard and self.blocks:
            self.board.send_serial(self.blocks.pop(0))


Product = tuple[workshop.Workshop, bytes, bytes]


@pytest.fixture(scope="module", params=toolchain.NAMES)
def product(
    request: pytest.FixtureRequest, build: workshop.Build, tmp_path_factory: pytest.TempPathFactory
) -> Product:
    shop = build(workshop.DEFAULT, request.param)
    return _product(shop, tmp_path_factory.mktemp("examples"), request.param)


def _product(shop: workshop.Workshop, folder: Path, tool: str) -> Product:
    def image(version: str) -> bytes:
        elf = build_example(version, shop.layout, folder, tool)
        return load_image(elf, shop.layout).data

    return shop, image("1.5.0"), shop.update(image("2.0.0"), "2.0.0", 2)


def test_an_update_over_the_serial_line_is_installed(product: Product) -> None:
    shop, old, update = product
    board = shop.board(old)
    Sender(board, update)
    report = board.boot(app_seconds=60.0)
    assert report.outcome is Outcome.APP_RUNS
    assert not report.faults
    text = report.uart
    assert "example application 1.5.0" in text
    assert "staged, the loader installs it" in text
    assert "example application 2.0.0" in text
    assert "installed an update" in text


def test_a_large_update_crosses_sectors(build: workshop.Build, tmp_path: Path) -> None:
    tool = toolchain.installed()[0]
    shop, old, _ = _product(build(workshop.DEFAULT, tool), tmp_path, tool)
    new = shop.image(3 * SECTOR_SIZE + 77, 9)
    update = shop.update(new)
    board = shop.board(old)
    shop.stage(board, bytes(4 * SECTOR_SIZE))  # every sector needs its erase
    Sender(board, update)
    report = board.boot(app_seconds=120.0)
    assert report.outcome is Outcome.APP_RUNS
    assert shop.app_is(board, new)


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_an_application_in_the_bank_of_staging_waits_in_ram(tmp_path: Path, tool: str) -> None:
    # the simulator reports any fetch from the bank that is being changed
    workshop.needs(tool)
    found = workshop.layout_named(workshop.DEFAULT)
    layout = dataclasses.replace(
        found, staging=Span(0x0802_0000, 384 * KIB), app=Span(0x0808_0000, 512 * KIB)
    )
    shop, old, update = _product(workshop.make_workshop(tmp_path, layout, tool), tmp_path, tool)
    board = shop.board(old)
    Sender(board, update)
    report = board.boot(app_seconds=60.0)
    assert not report.faults
    assert "staged, the loader installs it" in report.uart


@pytest.mark.parametrize(
    ("change", "announced", "answer"),
    [
        (lambda update: b"X" + update[1:], None, "not staged: 4"),
        (lambda update: update, 639, "not staged: 2"),
        (lambda update: update, 0x2000_0000, "not staged: 2"),
    ],
    ids=["no update", "too small", "too large"],
)
def test_what_is_no_update_is_not_staged(
    product: Product,
    change: Callable[[bytes], bytes],
    announced: int | None,
    answer: str,
) -> None:
    shop, old, update = product
    board = shop.board(old)
    Sender(board, change(update), announced)
    report = board.boot(app_seconds=10.0)
    assert answer in report.uart
    assert board.read(shop.layout.staging.start, HEADER_SIZE) == b"\xff" * HEADER_SIZE
    assert board.boot().outcome is Outcome.APP_RUNS


def _operations_of_the_app(shop: workshop.Workshop, report: BootReport) -> int:
    staging = shop.layout.staging
    return sum(staging.contains(operation.address, 1) for operation in report.operations)


def test_a_power_cut_anywhere_leaves_the_old_application_or_a_whole_update(
    build: workshop.Build, tmp_path: Path
) -> None:
    tool = toolchain.installed()[0]
    shop, old, update = _product(build(workshop.DEFAULT, tool), tmp_path, tool)
    board = shop.board(old)
    shop.stage(board, bytes(HEADER_SIZE))
    assert board.boot().outcome is Outcome.APP_RUNS
    before = board.snapshot()
    Sender(board, update)
    whole = board.boot(app_seconds=60.0)
    assert "2.0.0" in whole.uart
    writes = _operations_of_the_app(shop, whole)
    last = HEADER_SIZE // FLASH_WORD
    points = {1, 2, 3, writes // 2, *range(writes - last - 2, writes + 1)}
    healed = 0
    for number in sorted(points):
        for flavour in ("before", "torn", "after"):
            board.restore(before)
            Sender(board, update)
            cut = board.boot(app_seconds=60.0, cut=Cut.parse(f"{number}-{flavour}"))
            assert cut.outcome is Outcome.POWER_CUT
            board.on_serial(lambda byte: None)
            again = board.boot(app_seconds=1.0)
            assert again.outcome is Outcome.APP_RUNS, (number, flavour)
            is_new = "application 2.0.0" in again.uart
            assert is_new or "application 1.5.0" in again.uart
            assert not is_new or number >= writes - 1
            healed += 1
    assert healed == 3 * len(points)


def test_the_source_knows_the_header_as_the_format_has_it() -> None:
    text = SOURCE.read_text()
    assert f"#define HEADER_SIZE {HEADER_SIZE}u" in text
    assert f"#define FLASH_WORD {FLASH_WORD}u" in text
    assert f'"{UPDATE_MAGIC.decode()}"' in text
