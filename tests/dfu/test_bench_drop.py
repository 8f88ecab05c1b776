"""The comparison with dfu-util: its model is the real program, and the aims hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import drop
from bench.stock import DfuUtil
from bus import transcript
from bus.recorder import Recorder
from dfu.products import BANK2_STAGING, STAGING

from packager.chip import CHIPS, SECTOR_SIZE, Span
from packager.sim.board import Board

TRANSCRIPTS = Path(__file__).parent.parent / "bus" / "transcripts"
DATA = b"SPLTFLSH" + bytes(range(256)) * (SECTOR_SIZE // 256 + 8)


@pytest.mark.parametrize(("name", "size"), [("raw", 5001), ("raw-two-sectors", SECTOR_SIZE + 2000)])
def test_the_model_of_dfu_util_sends_what_the_real_one_was_recorded_to_send(
    name: str, size: int
) -> None:
    board = Board.new(CHIPS["stm32h743xi"], rom_id=0x92)
    board.program(dict.fromkeys((STAGING.start, STAGING.start + SECTOR_SIZE), b"old"))
    board.boot(boot0=True)
    rom = board.rom
    assert rom
    recorder = Recorder(board.clock)

    def control(kind: int, request: int, value: int, index: int, data: bytes | int) -> bytes:
        length = data if isinstance(data, int) else len(data)
        setup = bytes((kind, request)) + b"".join(
            number.to_bytes(2, "little") for number in (value, index, length)
        )
        return recorder.control(rom.control, setup, b"" if isinstance(data, int) else data)

    DfuUtil(control, board.clock.sleep).download(STAGING.start, DATA[:size])
    recorded = (TRANSCRIPTS / f"{name}.txt").read_text().splitlines()[1:]
    assert transcript.render(recorder.transfers) == recorded


@pytest.mark.parametrize(
    ("staging", "rom_id"), [(STAGING, 0x90), (BANK2_STAGING, 0x92)], ids=["bank1", "bank2"]
)
def test_the_aims_hold(staging: Span, rom_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows = drop.compare(256 * 1024, staging, rom_id)
    with capsys.disabled():
        print()  # noqa: T201
        assert drop.show(rows) == 0


def test_every_drop_costs_less_than_dfu_util_in_transfers_and_time() -> None:
    stock, *ours = drop.compare(256 * 1024, STAGING, 0x90)
    for row in ours:
        assert row.cost.transfers < stock.cost.transfers, row.name
        assert row.cost.seconds < 0.8 * stock.cost.seconds, row.name


def test_a_resumed_drop_erases_nothing_and_moves_each_byte_once_in_three_ways_at_most() -> None:
    """It is looked at, written if it is not there, and read back."""
    _, new, *_, resumed = drop.compare(256 * 1024, STAGING, 0x90)
    assert resumed.cost.seconds < new.cost.seconds
    assert resumed.cost.bytes < new.cost.bytes
