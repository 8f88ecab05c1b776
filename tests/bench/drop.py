"""Compares a drop by dfu-util with ours, same board and file: ``python tests/bench/drop.py``.

Transfers, bytes and seconds are those of the virtual board, so they are the same on every machine.
dfu-util reads nothing back; every drop of ours does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stock import DfuUtil
from dfu import products
from dfu.products import BANK2_STAGING, STAGING

from packager.chip import CHIPS, KIB, SECTOR_SIZE, Span
from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.usb import open_device
from packager.sim.board import Board

SIZE = 512 * KIB
PURPOSES = ("erase", "program", "usb", "waiting")
FULL_AIM, AGAIN_AIM = 0.70, 0.25
"""Of dfu-util's time, for a drop to a new device and for the same update once more."""


@dataclass(frozen=True)
class Cost:
    """What a drop took."""

    transfers: int
    bytes: int
    seconds: float
    spent: dict[str, float]
    """Seconds by what they were spent on."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    cost: Cost
    aim: float | None = None


def main() -> int:
    """Print the table; the exit code is 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="bytes of the update file")
    size = parser.parse_args().size
    missed = 0
    for title, staging, rom_id in (
        ("staging in bank 1, ROM 0x90", STAGING, 0x90),
        ("staging in bank 2, ROM 0x92", BANK2_STAGING, 0x92),
    ):
        rows = compare(size, staging, rom_id)
        print(f"\n{size} bytes, {title}")
        missed += show(rows)
    return 1 if missed else 0


def show(rows: list[Row]) -> int:
    """Print rows, the first of which is the measure; return how many aims are missed."""
    print(
        f"{'':<42} {'transfers':>9} {'bytes':>8} {'seconds':>7} {'ratio':>5}  "
        + " ".join(f"{purpose:>7}" for purpose in PURPOSES)
    )
    stock, missed = rows[0].cost.seconds, 0
    for row in rows:
        ratio = row.cost.seconds / stock
        line = f"{row.name:<42} {row.cost.transfers:>9} {row.cost.bytes:>8}"
        line += f" {row.cost.seconds:>7.2f} {ratio:>5.2f}  "
        line += " ".join(f"{row.cost.spent.get(purpose, 0):>7.2f}" for purpose in PURPOSES)
        if row.aim:
            line += f"  aim <= {row.aim:.2f}"
            missed += ratio > row.aim
        print(line)
    return missed


def compare(size: int, staging: Span, rom_id: int) -> list[Row]:
    """Return a row for dfu-util, then one for each drop of ours."""
    new = make_update(size, staging, 1)
    old = make_update(size, staging, 2)
    empty, installed, full = (
        board_with(staging, rom_id),
        board_with(staging, rom_id, {staging.start + SECTOR_SIZE: old[SECTOR_SIZE:]}),
        board_with(staging, rom_id, {staging.start: old}),
    )
    stock = measure(board_with(staging, rom_id), lambda board: stock_drop(board, new, staging))
    return [
        Row("dfu-util, nothing read back", stock),
        Row("splitflash, new device", measure(empty, lambda b: our_drop(b, new)), FULL_AIM),
        Row(
            "splitflash, the same once more", measure(empty, lambda b: our_drop(b, new)), AGAIN_AIM
        ),
        Row("splitflash, after an installation", measure(installed, lambda b: our_drop(b, new))),
        Row("splitflash, over an update not installed", measure(full, lambda b: our_drop(b, new))),
        Row("splitflash, unplugged half-way and resumed", resumed(staging, rom_id, new)),
    ]


def resumed(staging: Span, rom_id: int, update: bytes) -> Cost:
    """Return what the second half costs."""
    board = board_with(staging, rom_id)
    snapshot = board.snapshot()
    whole = measure(board, lambda b: our_drop(b, update))
    board.restore(snapshot)

    def pull(board: Board) -> None:
        assert board.rom
        board.rom.unplug_at = whole.transfers // 2
        try:
            our_drop(board, update)
        except Exception:
            return
        raise AssertionError("it was not unplugged")

    measure(board, pull)
    return measure(board, lambda b: our_drop(b, update))


def make_update(size: int, staging: Span, seed: int) -> bytes:
    """Return an update of exactly ``size`` bytes."""
    return products.update(size - len(products.update(0, staging)), staging, seed)


def board_with(staging: Span, rom_id: int, held: dict[int, bytes] | None = None) -> Board:
    """Return a board with a loader's info block, the record of an installed app, and ``held``."""
    board = Board.new(CHIPS["stm32h743xi"], rom_id=rom_id)
    identity = {
        products.INFO_ADDRESS: products.info_bytes(staging),
        products.MARKS.start: products.record(),
    }
    board.program(identity | (held or {}))
    return board


def measure(board: Board, drop: Callable[[Board], None]) -> Cost:
    """Count what a drop puts on the wire, from the moment the device is there."""
    board.boot(boot0=True)
    rom = board.rom
    assert rom
    control, moved = rom.control, 0

    def counted(kind: int, request: int, value: int, index: int, data: bytes | int) -> bytes:
        nonlocal moved
        answer = control(kind, request, value, index, data)
        moved += len(answer) if isinstance(data, int) else len(data)
        return answer

    rom.control = counted  # type: ignore[assignment, method-assign]
    began, spent = board.clock.now, dict(board.clock.seconds)
    drop(board)
    seconds = board.clock.now - began
    return Cost(rom.transfers, moved, seconds, board.clock.since(spent))


def stock_drop(board: Board, update: bytes, staging: Span) -> None:
    """Drop as dfu-util does."""
    assert board.rom
    DfuUtil(board.rom.control, board.clock.sleep).download(staging.start, update)
    assert board.read(staging.start, len(update)) == update


def our_drop(board: Board, update: bytes) -> None:
    """Drop as ``splitflash drop`` does."""
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        plan = prepare_drop(update, client)
        run_plan(plan, client)
    assert board.read(plan.staging.start, len(update)) == update


if __name__ == "__main__":
    sys.exit(main())
