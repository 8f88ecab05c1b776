"""Every client on every ROM in both layouts: what it says, and what runs afterwards.

What is wrong with the ROMs is wrong in bank 2 only, so the mirror layout, which stages there, is
where stock dfu-util fails. No case may cost more virtual time than its deadline.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import workshop

from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.usb import open_device
from packager.errors import DeviceError, PackagerError, ProtectedError, RefusedError
from packager.sim.board import Board

from .mocked_bus import MockedBus
from .scene import NEW, OLD, Product
from .table import EVENTS, HANGS, PROPERTY, cell, render

DEADLINE = 60.0
"""Virtual seconds; after them a person has lost patience and pulls the cable."""
IO_ERROR = 74
"""What dfu-util exits with when the device fails or goes."""
MIDDLE = "100-torn"
"""The power goes in the middle of the update: the erase and 99 flash words are done."""
CLIENTS = ("dfu-util", "splitflash/libusb", "splitflash/in-process")
ROMS = (0xD2, 0x90, 0x91, 0x92)
LAYOUTS = {workshop.DEFAULT: "app in bank 2", workshop.MIRROR: "app in bank 1"}


@dataclass(frozen=True)
class Case:
    """One drop."""

    client: str
    rom_id: int
    layout: str
    event: str

    @property
    def row(self) -> str:
        return f"{self.client:21}  ROM 0x{self.rom_id:02X}  {LAYOUTS[self.layout]}"

    def __str__(self) -> str:
        return f"{self.client}-{self.rom_id:X}-{LAYOUTS[self.layout]}-{self.event}"

    def expected(self) -> str:
        """Return the exit code and the application that runs after a power cycle."""
        stages_in_bank2 = self.layout == workshop.MIRROR
        if self.client == "dfu-util" and stages_in_bank2 and self.event != "protected":
            if self.rom_id == 0x90:
                return f"{HANGS} {OLD}"  # the erase stays busy, and dfu-util waits for ever
            if self.rom_id == 0x91:
                return f"{IO_ERROR} {OLD}"  # the next command meets a flash that is still busy
        stock = {"unplug": IO_ERROR, "protected": IO_ERROR, "wrong file": 0}
        ours = {
            "unplug": DeviceError.exit_code,
            "protected": ProtectedError.exit_code,
            "wrong file": RefusedError.exit_code,
        }
        code = (stock if self.client == "dfu-util" else ours).get(self.event, 0)
        return f"{code} {NEW if self.event in ('clean', 'resume') else OLD}"


CASES = [Case(*values) for values in itertools.product(CLIENTS, ROMS, LAYOUTS, EVENTS)]

Drop = Callable[[Board, bytes], str]
"""Bring an update to a board that sits in its ROM; return the exit code, or that it hangs."""


@pytest.fixture
def drop(
    request: pytest.FixtureRequest, case: Case, product: Callable[[str], Product], tmp_path: Path
) -> Drop:
    """The client of a case."""
    if case.client == "splitflash/in-process":
        return _in_process
    bus: MockedBus = request.getfixturevalue("bus")
    path = tmp_path / "update.bin"
    if case.client == "dfu-util":
        staging = product(case.layout).staging
        command = [request.getfixturevalue("dfu_util"), "-a", "0", "-s", staging, "-D", str(path)]
    else:
        command = [*request.getfixturevalue("splitflash"), "drop", str(path)]

    def run(board: Board, update: bytes) -> str:
        path.write_bytes(update)
        with bus.with_board(board):
            ended = bus.run(command, deadline=DEADLINE)
        assert "Traceback" not in ended.out, ended.out
        return HANGS if ended.cable_pulled else str(ended.code)

    return run


def _in_process(board: Board, update: bytes) -> str:
    try:
        with open_device(backend=board.usb_backend(), clock=board.clock) as client:
            run_plan(prepare_drop(update, client), client)
    except PackagerError as error:
        return str(error.exit_code)
    return "0"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_drop_ends_as_expected(
    case: Case,
    drop: Drop,
    product: Callable[[str], Product],
    record_property: Callable[[str, object], None],
) -> None:
    thing = product(case.layout)
    board = thing.board(case.rom_id, protected=case.event == "protected")
    began = board.clock.now
    if case.event in ("unplug", "resume"):
        board.boot(boot0=True, cut=MIDDLE)
    update = thing.foreign_update if case.event == "wrong file" else thing.update

    ended = drop(board, update)
    if case.event == "resume":
        assert ended != "0"
        board.boot(boot0=True)
        ended = drop(board, update)
    seconds = board.clock.now - began
    touched = bool(board.flash.operations)

    seen = f"{ended} {thing.power_cycle(board)}"
    record_property(PROPERTY, cell(case.row, case.event, case.expected(), seen, seconds))
    assert seen == case.expected()
    if ended != HANGS:
        assert seconds <= DEADLINE
    if case.event == "protected" or ended == str(RefusedError.exit_code):
        assert not touched


def test_the_table_shows_what_was_expected_and_what_was_seen() -> None:
    lines = render([cell("a", "clean", "0 v2", "0 v2", 3), cell("a", "unplug", "74 v1", "0 v1", 1)])
    assert lines[2].split() == ["a", "0", "v2/0", "v2", "74", "v1/0", "v1", "-", "-", "-"]
    assert lines[-1] == "2 drops, 1 not as expected; the longest took 3.0 virtual seconds"
