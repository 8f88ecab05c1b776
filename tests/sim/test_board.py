"""The board: its file, its power switch, its debugger, cuts and snapshots."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from random import Random

import pytest
from sim.firmware import APP, WRITER, build

from packager.chip import CHIPS, FLASH_WORD
from packager.errors import FormatError, PackagerError
from packager.sim.board import Board, Outcome
from packager.sim.cells import Word
from packager.sim.operations import Cut, FlashOp, OpKind, Timing

APP_AT = 0x0810_0000
MARKS = 0x081E_0000
WORD = b"".join(n.to_bytes(4, "little") for n in range(1, 9))


@pytest.fixture
def board() -> Board:
    new = Board.new(CHIPS["stm32h743xi"])
    new.program({**build(WRITER), **build(APP, at=APP_AT)})
    return new


def test_a_board_survives_its_file(board: Board, tmp_path: Path) -> None:
    board.flash.plant(MARKS, Word.WEAK, reads=3)
    board.flash.plant(MARKS + 32, Word.POISONED)
    board.flash.options = board.flash.options.with_rdp(0x55).with_write_protection(2, {1, 2})
    board.save(tmp_path / "a.board")
    again = Board.load(tmp_path / "a.board")
    assert again.snapshot() == board.snapshot()
    assert (again.chip, again.rom_id, again.uid) == (board.chip, board.rom_id, board.uid)
    assert again.flash.word_state(MARKS + 32) is Word.POISONED


def test_a_board_keeps_its_seed_and_timing(tmp_path: Path) -> None:
    board = Board.new(CHIPS["stm32h743xg"], rom_id=0xD2, seed=5, timing=Timing.MAXIMUM)
    board.save(tmp_path / "a.board")
    again = Board.load(tmp_path / "a.board")
    assert (again.flash.seed, again.flash.timing) == (5, Timing.MAXIMUM)


@pytest.mark.parametrize("damage", ["truncated", "other", "empty", "flipped"])
def test_a_damaged_file_is_a_format_error(board: Board, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.board"
    board.save(path)
    whole = path.read_bytes()
    middle = whole.index(b"bank1.bin") + len(b"bank1.bin") + 20  # in the packed content
    path.write_bytes(
        {
            "truncated": whole[:middle],
            "other": b"hello",
            "empty": b"",
            "flipped": whole[:middle] + bytes((whole[middle] ^ 1,)) + whole[middle + 1 :],
        }[damage]
    )
    with pytest.raises(FormatError, match="this is not a virtual board"):
        Board.load(path)


def test_a_missing_file_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        Board.load(tmp_path / "none")


def test_a_save_that_fails_leaves_the_old_file(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.board"
    path.write_bytes(b"old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PackagerError, match=r"a\.board: cannot be written \(No space left"):
        board.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.board"]
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_a_board_holds_keys_and_is_readable_by_its_owner_only(board: Board, tmp_path: Path) -> None:
    board.save(tmp_path / "a.board")
    assert (tmp_path / "a.board").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no endless file")
def test_an_endless_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(FormatError, match="no regular file"):
        Board.load(Path("/dev/zero"))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.board"
    with path.open("wb") as file:
        file.truncate(1 << 34)  # sparse
    with pytest.raises(FormatError, match="it has 17179869184 bytes"):
        Board.load(path)


@pytest.mark.parametrize("name", ["board.json", "bank1.bin", "bank2.words"])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_before_that(
    board: Board, tmp_path: Path, name: str
) -> None:
    path, bomb = tmp_path / "a.board", tmp_path / "bomb.board"
    board.save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, bytes(8 << 20) if member == name else old.read(member))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(FormatError, match=f"{name} has 8388608 bytes"):
        Board.load(bomb)


def test_every_board_is_smaller_than_the_limits(tmp_path: Path) -> None:
    """The worst one: content that cannot be packed, every word weak with a long count."""
    board = Board.new(CHIPS["stm32h743xi"])
    random = Random(1)
    for cells in board.flash.banks:
        for word in range(len(cells.states)):
            cells.set_word(word, random.randbytes(FLASH_WORD), Word.WEAK, 6)
    board.save(tmp_path / "a.board")
    assert Board.load(tmp_path / "a.board").snapshot() == board.snapshot()


def test_a_board_that_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        Board.load(tmp_path / ("a" * 300))
    assert "cannot be read (File name too long)" in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_an_unknown_rom_is_refused_in_words() -> None:
    with pytest.raises(PackagerError, match="ROM id 0x12"):
        Board.new(CHIPS["stm32h743xi"], rom_id=0x12)


def test_the_debugger_erases_the_sectors_it_touches_and_no_others(board: Board) -> None:
    board.program({MARKS: b"old" * 100, 0x0802_0000: b"kept"})
    board.program({MARKS + 1024: b"new"})
    assert board.read(MARKS, 4) == b"\xff" * 4
    assert board.read(MARKS + 1024, 4) == b"new\xff"
    assert board.read(0x0802_0000, 4) == b"kept"


def test_words_of_ones_are_left_blank_by_the_debugger(board: Board) -> None:
    board.program({MARKS: b"a" * 32 + b"\xff" * 32 + b"b"})
    states = [board.flash.word_state(MARKS + at) for at in (0, 32, 64)]
    assert states == [Word.PROGRAMMED, Word.BLANK, Word.PROGRAMMED]


def test_segments_that_share_a_flash_word_are_joined(board: Board) -> None:
    board.program({MARKS: b"abc", MARKS + 8: b"xyz"})
    assert board.read(MARKS, 12) == b"abc" + b"\xff" * 5 + b"xyz\xff"


def test_programming_outside_flash_is_refused_in_words(board: Board) -> None:
    with pytest.raises(PackagerError, match="not in user flash"):
        board.program({0x2000_0000: b"x"})


def test_a_boot_reports_its_operations_in_order(board: Board) -> None:
    report = board.boot()
    assert report.outcome is Outcome.APP_RUNS
    assert [op.index for op in report.operations] == list(range(1, 10))
    assert [op.kind for op in report.operations] == [OpKind.ERASE] + [OpKind.PROGRAM] * 8
    assert report.operations[8].address == MARKS + 7 * 32


def test_a_second_boot_counts_from_one_again(board: Board) -> None:
    board.boot()
    assert board.boot().operations[0].index == 1


@pytest.mark.parametrize(
    ("cut", "written"), [("1-after", 0), ("2-before", 0), ("2-after", 1), ("9-after", 8)]
)
def test_a_power_cut_ends_the_boot_where_it_was_planned(
    board: Board, cut: str, written: int
) -> None:
    report = board.boot(cut=cut)
    assert report.outcome is Outcome.POWER_CUT
    assert str(report.cut) == cut
    assert board.read(MARKS, 256) == WORD * written + b"\xff" * (256 - 32 * written)


def test_a_cut_behind_the_last_operation_never_happens(board: Board) -> None:
    assert board.boot(cut=Cut(10, "before")).outcome is Outcome.APP_RUNS


def test_the_power_comes_back_after_a_cut(board: Board) -> None:
    for index in range(1, 10):
        board.boot(cut=Cut(index, "torn"))
    assert board.boot().outcome is Outcome.APP_RUNS
    assert board.read(MARKS, 256) == WORD * 8


def test_a_callback_sees_the_flash_after_every_operation(board: Board) -> None:
    seen: list[int] = []

    def look(op: FlashOp, board: Board) -> None:
        seen.append(sum(board.flash.word_state(MARKS + at) for at in range(0, 256, 32)))

    board.boot(on_operation=look)
    assert seen == list(range(9))


def test_what_a_callback_raises_comes_out_of_the_boot(board: Board) -> None:
    def refuse(op: FlashOp, board: Board) -> None:
        raise ValueError(f"operation {op.index}")

    with pytest.raises(ValueError, match="operation 1"):
        board.boot(on_operation=refuse)


def test_ram_can_be_looked_at_when_the_application_is_entered(board: Board) -> None:
    seen: list[bytes] = []
    board.on_jump = lambda handover: seen.append(board.read(0x2400_0000, 16))
    board.boot()
    assert seen == [board.read(0x2400_0000, 16)]


def test_a_snapshot_brings_everything_back(board: Board) -> None:
    snapshot = board.snapshot()
    board.boot(cut="5-torn")
    board.flash.options = board.flash.options.with_rdp(0xCC)
    board.restore(snapshot)
    assert board.snapshot() == snapshot


def test_the_same_boot_twice_is_the_same_to_the_last_digit(board: Board) -> None:
    snapshot = board.snapshot()
    first = board.boot(cut="6-torn")
    left = board.snapshot()
    board.restore(snapshot)
    second = board.boot(cut="6-torn")
    assert board.snapshot() == left
    assert second.seconds == first.seconds
    assert [op.address for op in second.operations] == [op.address for op in first.operations]


def test_counting_twice_gives_the_same_number(board: Board) -> None:
    assert board.boot(count=True).instructions == board.boot(count=True).instructions


def test_the_application_is_heard_for_the_time_asked(board: Board) -> None:
    app = """
    void main(void) {
        REG(0xE000E014u) = 639999u; REG(0xE000E018u) = 0; REG(0xE000E010u) = 5u;
        for (;;) { print("tick "); while (!(REG(0xE000E010u) & 1u << 16)) {} }
    }
    """
    board.program(build(app, at=APP_AT))
    assert board.boot(app_seconds=0.005).uart == "tick "
    assert board.boot(app_seconds=0.045).uart == "tick " * 5


def test_a_protected_chip_with_a_debugger_attached_does_not_start(board: Board) -> None:
    board.flash.options = board.flash.options.with_rdp(0x55)
    assert board.boot().outcome is Outcome.APP_RUNS
    board.debugger_attached = True
    assert board.boot().outcome is Outcome.LOCKED_UP


def test_the_watchdog_of_the_option_bytes_runs_from_power_on(board: Board) -> None:
    from dataclasses import replace

    options = board.flash.options
    board.flash.options = replace(options, optsr=options.optsr & ~(1 << 4))
    board.program(build("void main(void) { for (;;) {} }"))
    assert board.boot(limit_seconds=2.0).resets[0] == "watchdog"
