"""What stock dfu-util sends, recorded by our own run and kept as text; and what is known of it.

The files in ``transcripts`` are compared on every run. After a change that is meant, record them
again and read the difference: ``SPLITFLASH_RECORD=1 pytest tests/bus/test_transcripts.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from packager.chip import CHIPS, SECTOR_SIZE
from packager.dfu.constants import State
from packager.dfuse_file import write_dfuse
from packager.sim.board import Board

from . import transcript
from .mocked_bus import Ended, MockedBus
from .recorder import Transfer

FOLDER = Path(__file__).parent / "transcripts"
START, BANK_2 = 0x08020000, 0x08100000
SIZE = 5001
LONG = SECTOR_SIZE + 2000
DATA = (b"SPLTFLSH" + bytes(range(256)) * (LONG // 256 + 1))[:LONG]
RAW = ("-a", "0", "-s", f"0x{START:08x}", "-D", "short.bin")

GETSTATUS = (0xA1, 3, 0, 0, 6)
ABORT = (0x21, 6, 0, 0, 0)
CLRSTATUS = (0x21, 4, 0, 0, 0)
SET_INTERFACE = (0x01, 11, 0, 0, 0)
LANGUAGES = (0x80, 6, 0x0300, 0, 255)
PROBE = [LANGUAGES, (0x80, 6, 0x0304, 0x0409, 255), LANGUAGES, (0x80, 6, 0x0303, 0x0409, 255)]
OPEN = [SET_INTERFACE, GETSTATUS]
END = [ABORT, GETSTATUS]
COMMAND = (0x21, 1, 0, 0, 5)


@dataclass
class Recording:
    """One run of dfu-util."""

    ended: Ended
    transfers: list[Transfer | None]

    @property
    def real(self) -> list[Transfer]:
        """The transfers; there was no bus reset."""
        assert None not in self.transfers
        return [transfer for transfer in self.transfers if transfer]

    @property
    def setups(self) -> list[tuple[int, int, int, int, int]]:
        """The setup packets."""
        return [setup(transfer) for transfer in self.real]


def setup(t: Transfer) -> tuple[int, int, int, int, int]:
    return t.request_type, t.request, t.value, t.index, t.length


SCENES: dict[str, tuple[str, ...]] = {
    "list": ("-l",),
    "raw": RAW,
    "raw-two-sectors": ("-a", "0", "-s", f"0x{START:08x}", "-D", "long.bin"),
    "raw-and-leave": ("-a", "0", "-s", f"0x{START:08x}:leave", "-D", "short.bin"),
    "dfu": ("-a", "0", "-D", "short.dfu"),
    "leave": ("-a", "0", "-s", "0x08000000:leave"),
    "read-back": ("-a", "0", "-s", f"0x{START:08x}:{SIZE}", "-U", "back.bin"),
    "after-an-error": RAW,
    "protected": RAW,
    "rom-90-bank-2": ("-a", "0", "-s", "0x08100000", "-D", "short.bin"),
    "rom-91-bank-2": ("-a", "0", "-s", "0x08100000", "-D", "short.bin"),
}
ROM_IDS = {"rom-90-bank-2": 0x90, "rom-91-bank-2": 0x91}

Record = Callable[[str], Recording]


@pytest.fixture(scope="module")
def record(
    bus: MockedBus, dfu_util: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Recording]:
    """Run a scene, once."""
    made: dict[str, Recording] = {}

    def play(name: str) -> Recording:
        folder = tmp_path_factory.mktemp(name)
        (folder / "short.bin").write_bytes(DATA[:SIZE])
        (folder / "long.bin").write_bytes(DATA)
        (folder / "short.dfu").write_bytes(write_dfuse(START, DATA[:SIZE]))
        board = Board.new(CHIPS["stm32h743xi"], rom_id=ROM_IDS.get(name, 0x92))
        board.program(dict.fromkeys((START, START + SECTOR_SIZE, BANK_2), b"old"))
        if name in ("protected", "after-an-error"):
            board.flash.options = board.flash.options.with_rdp(0x55)
        board.boot(boot0=True)
        if name == "after-an-error":
            with bus.with_board(board):
                assert bus.run([dfu_util, *RAW], cwd=folder).code
            board.flash.options = board.flash.options.with_rdp(0xAA)
        with bus.with_board(board) as recorder:
            ended = bus.run([dfu_util, *SCENES[name]], cwd=folder, deadline=60)
        return Recording(ended, recorder.transfers)

    def get(name: str) -> Recording:
        if name not in made:
            made[name] = play(name)
        return made[name]

    return get


@pytest.mark.parametrize("name", SCENES)
def test_dfu_util_sends_what_was_recorded(record: Record, name: str) -> None:
    path = FOLDER / f"{name}.txt"
    head = f"dfu-util {' '.join(SCENES[name])}"
    text = "\n".join([head, *transcript.render(record(name).transfers), ""])
    if os.environ.get("SPLITFLASH_RECORD"):
        path.write_text(text)
    assert text == path.read_text()


def test_every_transcript_is_of_a_scene() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SCENES)


# -- what is known of it ---------------------------------------------------------------------------


def test_it_reads_the_name_and_the_serial_then_selects_the_memory(record: Record) -> None:
    """Descriptors come from sysfs; it never sets a configuration and never resets the bus."""
    setups = record("raw").setups
    assert setups[:6] == PROBE + OPEN
    assert (0x00, 9) not in [s[:2] for s in setups]


def test_a_raw_file_is_all_erases_then_an_address_and_block_2_for_every_chunk(
    record: Record,
) -> None:
    """The first erase carries the start address; it ends with ABORT."""
    done = record("raw-two-sectors")
    body = done.real[6:-2]
    assert done.setups[-2:] == END
    commands = [t for t in body if setup(t) == COMMAND]
    erases = [t.data for t in commands if t.data[0] == 0x41]
    addresses = [t.data for t in commands if t.data[0] == 0x21]
    assert erases == [command(0x41, START), command(0x41, START + SECTOR_SIZE)]
    assert [t.data for t in commands] == erases + addresses
    assert addresses == [command(0x21, START + at) for at in range(0, LONG, 1024)]
    chunks = [t for t in body if t.request == 1 and t.value]
    assert {t.value for t in chunks} == {2}
    assert b"".join(t.data for t in chunks) == DATA
    assert [len(t.data) for t in chunks] == [1024] * (LONG // 1024) + [LONG % 1024]


def test_every_download_is_followed_by_two_polls_and_a_chunk_costs_six_transfers(
    record: Record,
) -> None:
    done = record("raw-two-sectors")
    body = [s[:2] for s in done.setups[6:-2]]
    assert body == [(0x21, 1), (0xA1, 3), (0xA1, 3)] * (len(body) // 3)
    chunks = -(-LONG // 1024)
    assert len(done.setups) == len(PROBE + OPEN) + 2 * 3 + chunks * 6 + len(END)


def test_between_the_two_polls_it_sleeps_as_long_as_the_first_one_said(record: Record) -> None:
    body = record("raw").real[6:-2]
    for first, second in zip(body[1::3], body[2::3], strict=True):
        assert first.data[4] == State.DFU_DNBUSY
        announced = int.from_bytes(first.data[1:4], "little") / 1000
        assert second.began - first.ended == pytest.approx(announced, abs=1e-6)


def test_a_leave_is_an_address_an_empty_block_2_and_one_poll(record: Record) -> None:
    for name, address, before in (
        ("raw-and-leave", START, END),
        ("leave", 0x08000000, OPEN + END),
    ):
        done = record(name)
        leave = [COMMAND, GETSTATUS, GETSTATUS, (0x21, 1, 2, 0, 0), GETSTATUS]
        assert done.setups[-len(before + leave) :] == before + leave
        assert done.real[-5].data == command(0x21, address)
        assert done.real[-1].data[4] == State.DFU_MANIFEST


def test_reading_back_sets_the_address_aborts_and_counts_blocks_from_2(record: Record) -> None:
    """The last request is shortened to what is left."""
    setups = record("read-back").setups
    uploads = [(0xA1, 2, 2 + n, 0, 1024) for n in range(4)] + [(0xA1, 2, 6, 0, 905)]
    assert setups == [*PROBE, *OPEN, COMMAND, GETSTATUS, GETSTATUS, *END, *uploads, *END]


def test_a_dfu_file_selects_the_memory_once_more_and_is_the_same_otherwise(record: Record) -> None:
    """Its last chunk is longer: our files end at a whole flash word."""
    raw, dfu = record("raw").setups, record("dfu").setups
    expected = [*PROBE, *OPEN, SET_INTERFACE, *raw[6:]]
    assert [s[:4] for s in dfu] == [s[:4] for s in expected]
    lengths = ((one[4], other[4]) for one, other in zip(dfu, expected, strict=True))
    assert [pair for pair in lengths if pair[0] != pair[1]] == [(928, 905)]


def test_a_leftover_error_is_cleared_when_it_opens(record: Record) -> None:
    assert record("after-an-error").setups[4:8] == [*OPEN, CLRSTATUS, GETSTATUS]


def test_on_an_error_it_stops_at_once(record: Record) -> None:
    done = record("protected")
    assert done.ended.code == 74
    assert done.setups[6:] == [COMMAND, GETSTATUS, GETSTATUS]
    assert done.real[-1].data[4] == State.DFU_ERROR


def test_it_asks_for_ever_while_rom_90_stays_busy(record: Record) -> None:
    done = record("rom-90-bank-2")
    assert done.ended.cable_pulled
    polls = done.real[7:]
    assert len(polls) > 55
    assert {t.data[4] for t in polls if not t.failed} == {State.DFU_DNBUSY}


def test_nothing_recorded_can_unprotect_erase_the_whole_chip_or_detach(record: Record) -> None:
    for name in SCENES:
        for t in record(name).real:
            assert not (t.request_type == 0x21 and t.request in (0, 1) and len(t.data) == 1), name
            assert t.request_type != 0x21 or t.request != 0, name


def command(code: int, address: int) -> bytes:
    return bytes([code]) + address.to_bytes(4, "little")
