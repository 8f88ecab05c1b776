"""A new device beside its factory image: a good one passes, and every kind of damage is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import workshop
from dfu.scripted import Rom

from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.cli import run
from packager.dfu.doctor import Verdict
from packager.dfu.usb import open_device
from packager.errors import FormatError, ProtectedError, RefusedError, VerifyMismatchError
from packager.factory import build_factory, write_factory
from packager.factory.check import check_device, summary
from packager.factory.file import FactoryFile, read_factory
from packager.format import INFO_OFFSET, RECORD_SIZE
from packager.hex_file import write_hex
from packager.keys import (
    keygen,
    keygen_batch,
    load_device_keys,
    load_recipients,
    load_verify_keys,
)
from packager.layout import Layout
from packager.loader_file import read_loader
from packager.records import MarkRecord, build_record, parse_record
from packager.sim.board import Board
from packager.sim.cells import Word
from packager.virtual_flash import set_options

CHECKS = [
    *("read protection", "loader", "layout", "keys", "app", "records", "staging"),
    *("BOR_LEV", "IWDG1_SW", "SWAP_BANK_OPT", "BOOT_CM7_ADD0", "BOOT_CM7_ADD1"),
    "write protection",
]
DIFFERS = VerifyMismatchError.exit_code


class Station(NamedTuple):
    """A production place: a factory image and everything it was made of."""

    shop: workshop.Workshop
    image: Path
    layout: Layout
    pieces: dict[int, bytes]

    def board(self) -> Board:
        """Return a board as it comes from step 2: programmed, its option bytes set."""
        board = Board.new(self.layout.chip)
        board.program(self.pieces)
        set_options(board, self.layout)
        return board

    def file(self) -> FactoryFile:
        return read_factory(self.image, self.layout)


@pytest.fixture(scope="module")
def station(shop: workshop.Workshop, tmp_path_factory: pytest.TempPathFactory) -> Station:
    image = tmp_path_factory.mktemp("station") / "factory_SECRET.hex"
    layout = shop.layout
    loader = read_loader(shop.loader.elf)
    pieces = build_factory(shop.image(4000), loader, layout, 0x0102_0003, 7)
    write_factory(image, pieces)
    return Station(shop, image, layout, pieces)


class Said(NamedTuple):
    code: int
    lines: list[str]
    err: str

    def problems(self) -> dict[str, str]:
        """Return what was found wrong, by the name of the check, with what to do."""
        found = {}
        for line, after in zip(self.lines, [*self.lines[1:], ""], strict=True):
            if match := re.match(r"problem +sim:\S+ ([^:]+): (.*)", line):
                found[match[1]] = f"{match[2]} {after.strip()}"
        return found


def kept(path: Path) -> tuple[object, ...]:
    """Return all of a board; an unreadable word reads as other garbage each time."""
    board = Board.load(path)
    for cells in board.flash.banks:
        for word in (at for at, state in enumerate(cells.states) if state == Word.POISONED):
            cells.content[word * FLASH_WORD : (word + 1) * FLASH_WORD] = bytes(FLASH_WORD)
    return board.snapshot().banks, board.flash.options


@pytest.fixture
def check(
    station: Station, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Return the command; it sees to it that nothing on the board changed."""

    def check(board: Board, *options: object, keys: bool = True) -> Said:
        path = tmp_path / "new.board"
        board.save(path)
        before = kept(path)
        arguments = ["--factory", station.image, "--layout", station.layout.path]
        arguments += ["--keys", station.shop.keys] if keys else []
        capsys.readouterr()
        command = ["factory", "check", *arguments, "--device", f"sim:{path}", *options]
        code = run([str(word) for word in command])
        out, err = capsys.readouterr()
        assert kept(path) == before
        assert "Traceback" not in err
        return Said(code, out.splitlines(), err)

    return check


# -- a good one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("with_keys", [True, False])
def test_a_good_device_passes_every_check(
    station: Station, check: Callable[..., Said], with_keys: bool
) -> None:
    said = check(station.board(), keys=with_keys)

    assert said.code == 0, said.lines
    assert [line[:4] for line in said.lines] == ["ok  "] * len(CHECKS) + ["good"]
    for name in CHECKS:
        assert any(f" {name}: " in line for line in said.lines), name
    info = station.file().loader.info
    text = "\n".join(said.lines)
    for key_id in (*info.verify_key_ids, *info.device_key_ids):
        assert key_id.hex() in text
    assert ("active " in text) == with_keys
    assert "version 1.2.3, security counter 7" in text
    assert station.layout.layout_id.hex() in text


def test_progress_goes_to_stderr_area_by_area(station: Station, check: Callable[..., Said]) -> None:
    said = check(station.board())

    for area in ("loader", "app", "marks", "staging"):
        assert f"{area}: 100 %" in said.err


def test_programs_get_json_lines(station: Station, check: Callable[..., Said]) -> None:
    board = station.board()
    board.program({station.layout.staging.start: b"left over"})

    said = check(board, "--json")

    lines = [json.loads(line) for line in said.lines]
    told = [line["data"]["check"] for line in lines if line["data"].get("kind") == "check"]
    assert [one["name"] for one in told] == CHECKS
    assert {one["name"]: one["exit_code"] for one in told if one["verdict"] == "problem"} == {
        "staging": DIFFERS
    }
    end = lines[-1]
    assert (end["type"], end["data"]["exit_code"]) == ("task_end", DIFFERS)
    assert end["data"]["result"] == "fail"


@pytest.mark.parametrize("name", ["h743_protected", "h743zi_app_bank1", "h743vg_1mb"])
def test_a_good_device_of_every_kind_of_layout_passes(
    build: workshop.Build, tmp_path: Path, name: str
) -> None:
    shop = build(name)
    pieces = build_factory(shop.image(3000), read_loader(shop.loader.elf), shop.layout, 1, 1)
    write_factory(tmp_path / "f.hex", pieces)
    path = tmp_path / "b"
    board = Board.new(shop.layout.chip)
    board.program(pieces)
    set_options(board, shop.layout)
    board.save(path)
    given = ["--factory", str(tmp_path / "f.hex"), "--layout", str(shop.layout.path)]

    assert run(["factory", "check", *given, "--device", f"sim:{path}"]) == 0


def test_a_device_with_the_option_bytes_of_production_installs_updates(station: Station) -> None:
    board, new = station.board(), station.shop.image(5000, seed=9)
    station.shop.stage(board, station.shop.update(new, "2.0.0", 7))

    assert workshop.runs(board.boot(strict=False))
    assert station.shop.app_is(board, new)


# -- damaged ones ---------------------------------------------------------------------------------

Damage = Callable[[Station, Board], None]


def change(board: Board, address: int, data: bytes) -> None:
    """Put other bytes at an address; all else in the sector stays."""
    start = address - address % SECTOR_SIZE
    sector = bytearray(board.read(start, SECTOR_SIZE))
    sector[address - start : address - start + len(data)] = data
    board.program({start: bytes(sector)})


def flip(board: Board, address: int) -> None:
    change(board, address, bytes([board.read(address, 1)[0] ^ 0x10]))


def record(station: Station, **changes: object) -> bytes:
    made = replace(station.file().record, **changes)  # type: ignore[arg-type]
    return build_record(made)


def poison(board: Board, address: int) -> None:
    cells = board.flash.cells_of(address)
    cells.poison(cells.word_of(address))


def verify_key(station: Station, board: Board) -> None:
    raw = load_verify_keys(station.shop.keys)[0].raw
    flip(board, 0x0800_0000 + station.pieces[0x0800_0000].index(raw) + 5)


def device_key(station: Station, board: Board) -> None:
    raw = load_recipients(station.shop.keys)[0].raw
    flip(board, 0x0800_0000 + station.pieces[0x0800_0000].index(raw) + 5)


def staged_update(station: Station, board: Board) -> None:
    station.shop.stage(board, station.shop.update(station.shop.image(3000), "2.5.0", 7))


def was_updated(station: Station, board: Board) -> None:
    staged_update(station, board)
    assert workshop.runs(board.boot(strict=False))


def options(**changes: object) -> Damage:
    def damage(station: Station, board: Board) -> None:
        board.flash.options = replace(board.flash.options, **changes)  # type: ignore[arg-type]

    return damage


LAYOUT = workshop.layout_named(workshop.DEFAULT)
APP, MARKS, STAGING = LAYOUT.app, LAYOUT.marks, LAYOUT.staging
SECOND = MARKS.start + RECORD_SIZE
DAMAGES: dict[str, tuple[Damage, dict[str, str]]] = {
    "a byte of the loader": (
        lambda s, b: flip(b, 0x0800_0023),
        {"loader": "1 byte differs, at 0x08000023, expected it as in .*factory_SECRET.hex -> wr"},
    ),
    "a torn word of the loader": (
        lambda s, b: poison(b, 0x0800_0040),
        {"loader": r"0x08000040 cannot be read \(a torn or worn flash word\)"},
    ),
    "something behind the loader": (
        lambda s, b: change(b, 0x0801_FFE0, b"guest"),
        {"loader": "5 bytes differ, the first at 0x0801FFE0, expected it as in"},
    ),
    "no loader": (
        lambda s, b: b.program({0x0800_0000: b"\xff" * 32}),
        {
            "loader": "bytes differ, the first at 0x08000000, expected it",
            "layout": "no splitflash loader: no info block at 0x08000400",
        },
    ),
    "its info block": (
        lambda s, b: flip(b, 0x0800_0000 + INFO_OFFSET + 40),
        {"loader": "1 byte differs", "layout": "no info block at 0x08000400 .wrong CRC."},
    ),
    "a verify key": (
        verify_key,
        {
            "loader": "1 byte differs",
            "keys": r"'active' at 0x0800\w{4} has fingerprint \w{16}, exp",
        },
    ),
    "a device key": (
        device_key,
        {
            "loader": "1 byte differs",
            "keys": r"'device' at 0x0800\w{4} has fingerprint \w{16}, exp",
        },
    ),
    "a byte of the app": (
        lambda s, b: flip(b, APP.start + 3999),
        {"app": "1 byte differs, at 0x08100F9F: "},
    ),
    "no app": (
        lambda s, b: b.program({APP.start: b"\xff" * 32}),
        {"app": "the first at 0x08100000: ffffffffffffffff"},
    ),
    "a torn word behind the app": (
        lambda s, b: poison(b, APP.end - FLASH_WORD),
        {"app": "0x081DFFE0 cannot be read"},
    ),
    "an old record in the carry area": (
        lambda s, b: change(b, APP.end - RECORD_SIZE, record(s, sequence=9)),
        {"app": "the first at 0x081DFF80: "},
    ),
    "no record": (
        lambda s, b: b.program({MARKS.start: b"\xff" * 32}),
        {"records": "record 1: missing"},
    ),
    "no second record": (
        lambda s, b: b.program({MARKS.start: s.pieces[MARKS.start][:RECORD_SIZE]}),
        {"records": r"record 2: missing .*0x081E0080.*in records 1 and 2, then nothing"},
    ),
    "a record of another version": (
        lambda s, b: change(b, MARKS.start, record(s, version=0x0101_0000)),
        {"records": "record 1: installed version 1.1.0, security counter 7"},
    ),
    "a record with another counter": (
        lambda s, b: change(b, SECOND, record(s, sequence=2, security_counter=8)),
        {"records": "record 2: installed version 1.2.3, security counter 8"},
    ),
    "a torn record": (
        lambda s, b: poison(b, SECOND + 32),
        {"records": "record 2: damaged, wrong CRC .0x081E00A0 cannot be read"},
    ),
    "a third record": (
        lambda s, b: change(b, SECOND + RECORD_SIZE, record(s, sequence=3)),
        {"records": "record 3: installed version 1.2.3"},
    ),
    "rubbish in staging": (
        lambda s, b: b.program({STAGING.end - 64: b"old"}),
        {"staging": "3 bytes differ, the first at 0x080FFFC0: 6f6c64.*erase the whole chip"},
    ),
    "an update in staging": (
        staged_update,
        {"staging": "an update to version 2.5.0, taken at the next start, expected it to be blank"},
    ),
    "an update that was installed": (
        was_updated,
        {"app": "differ", "records": "is not new any more"},
    ),
    "brown-out level": (
        lambda s, b: options(optsr=b.flash.options.optsr & ~0xC)(s, b),
        {"BOR_LEV": "0, expected 3 -> set it as factory-steps.txt says"},
    ),
    "a watchdog from power-on": (
        lambda s, b: options(optsr=b.flash.options.optsr & ~0x10)(s, b),
        {"IWDG1_SW": "0, expected 1 -> set it as factory-steps.txt says"},
    ),
    "banks that will be swapped": (
        lambda s, b: options(optsr=b.flash.options.optsr | 1 << 31)(s, b),
        {"SWAP_BANK_OPT": "1, expected 0 -> set it as factory-steps.txt says"},
    ),
    "boot address": (options(boot=0x1FF0_0810), {"BOOT_CM7_ADD0": "0x0810, expected 0x0800"}),
    "no write protection": (
        options(wpsn=(0xFF, 0xFF)),
        {"write protection": r"off in sector 0 of bank 1 \(nWRP0=1\), expected on"},
    ),
    "too much write protection, bank 1": (
        options(wpsn=(0xF6, 0xFF)),
        {"write protection": "on in sector 3 of bank 1, expected off, it is staging"},
    ),
    "too much write protection, bank 2": (
        options(wpsn=(0xFE, 0x7F)),
        {"write protection": "on in sector 7 of bank 2, expected off, it is marks"},
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_differs_is_named_with_where_found_expected_and_do(
    station: Station, check: Callable[..., Said], name: str
) -> None:
    damage, wanted = DAMAGES[name]
    board = station.board()
    damage(station, board)

    said = check(board)

    problems = said.problems()
    assert said.code == DIFFERS
    assert problems.keys() == wanted.keys()
    for check_name, text in wanted.items():
        assert re.search(text, problems[check_name]), problems[check_name]
        assert ", expected " in problems[check_name]
        assert " -> " in problems[check_name]
    assert said.lines[-1] == f"NOT good: {len(wanted)} of {len(CHECKS)} checks found a problem"


@pytest.mark.parametrize(("name", "is_good"), [(workshop.DEFAULT, False), ("h743_protected", True)])
def test_boot0_may_lead_to_the_loader_where_the_rom_is_to_be_of_no_use(
    build: workshop.Build, tmp_path: Path, name: str, is_good: bool
) -> None:
    shop = build(name)
    pieces = build_factory(shop.image(3000), read_loader(shop.loader.elf), shop.layout, 1, 1)
    write_factory(tmp_path / "f.hex", pieces)
    board = Board.new(shop.layout.chip)
    board.program(pieces)
    set_options(board, shop.layout)
    board.boot(boot0=True)  # and then the option is changed, as by a probe
    board.flash.options = replace(board.flash.options, boot=0x0800_0800)

    with open_device(backend=board.usb_backend(), clock=board.clock) as device:
        checks = list(
            check_device(device, read_factory(tmp_path / "f.hex", shop.layout), shop.layout)
        )

    bad = [check.name for check in checks if check.verdict is not Verdict.OK]
    assert bad == ([] if is_good else ["BOOT_CM7_ADD1"])


def test_no_byte_of_the_device_key_is_shown_where_it_differs(
    station: Station, check: Callable[..., Said]
) -> None:
    (key,) = load_device_keys(station.shop.keys)
    board = station.board()
    at = 0x0800_0000 + station.pieces[0x0800_0000].index(key.secret)
    flip(board, at)

    said = check(board)

    text = "\n".join(said.lines) + said.err
    assert said.problems().keys() == {"loader"}
    assert f"at 0x{at:08X}" in said.problems()["loader"]
    assert not any(key.secret[n : n + 4].hex() in text for n in range(len(key.secret) - 3))


def test_a_device_of_another_product_is_told_by_its_layout(
    station: Station, check: Callable[..., Said], build: workshop.Build
) -> None:
    other = build("h743zi_app_bank1")
    board = other.board(other.image(3000))

    said = check(board)

    assert said.code == DIFFERS
    problems = said.problems()
    assert "built with another product than" in problems["layout"]
    assert station.layout.layout_id.hex() in problems["layout"]
    assert {"loader", "layout", "app"} <= problems.keys()


def test_a_device_with_keys_of_another_folder_is_told_by_its_fingerprints(
    station: Station, check: Callable[..., Said], compiler: workshop.Compiler, tmp_path: Path
) -> None:
    keygen(tmp_path / "keys")
    other = workshop.make_workshop(tmp_path, station.layout, compiler())
    board = other.board(station.shop.image(4000), "1.2.3", 7)
    set_options(board, station.layout)

    said = check(board, keys=False)

    assert said.problems().keys() == {"loader", "keys"}
    theirs, ours = read_loader(other.loader.elf).info, station.file().loader.info
    for key_id in (*theirs.device_key_ids, *ours.device_key_ids):
        assert key_id.hex() in said.problems()["keys"]


def test_a_protected_device_says_why_it_cannot_be_read(
    station: Station, check: Callable[..., Said]
) -> None:
    board = station.board()
    board.protect(1)

    said = check(board)

    assert said.code == ProtectedError.exit_code
    assert said.problems().keys() == {"read protection"}
    assert "RDP level 1" in said.problems()["read protection"]
    assert "before their read-out protection is set" in said.problems()["read protection"]


def test_a_device_at_level_2_has_no_rom_to_ask(
    station: Station, check: Callable[..., Said]
) -> None:
    board = station.board()
    board.protect(2)

    said = check(board)

    assert said.code == 11
    assert "at RDP level 2" in said.err


def test_the_loaders_own_dfu_is_not_taken_for_the_rom(station: Station) -> None:
    rom = Rom()
    with rom.client() as client:
        client.is_loader = True
        (only,) = check_device(client, station.file(), station.layout)

    assert (only.verdict, only.exit_code) == (Verdict.PROBLEM, 10)
    assert "BOOT0 high" in only.do


def test_a_rom_that_shows_no_option_bytes_leaves_them_to_the_programmer(station: Station) -> None:
    rom = Rom()
    for address, data in station.pieces.items():
        rom.put(address, data)
    with rom.client() as client:
        checks = list(check_device(client, station.file(), station.layout))

    assert (rom.erased, rom.written) == ([], [])
    assert [check.verdict for check in checks[:-1]] == [Verdict.OK] * 7
    assert checks[-1].verdict is Verdict.UNKNOWN
    assert checks[-1].found.startswith("not looked at: ")
    assert "-ob displ" in checks[-1].do
    assert summary(checks) == "good as far as it could be seen: 1 not looked at"


# -- the truth it is compared with ----------------------------------------------------------------


def test_the_factory_image_itself_must_be_of_this_layout_and_these_keys(
    station: Station, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = workshop.layout_named("h743zi_app_bank1").path
    keygen(tmp_path / "others")
    keygen_batch(tmp_path / "others", "b1")
    given = ["factory", "check", "--factory", str(station.image)]
    device = ["--device", f"sim:{tmp_path}/none.board"]

    assert run([*given, "--layout", str(mirror), *device]) == FormatError.exit_code
    own = [*given, "--layout", str(station.layout.path)]
    keys = ["--keys", str(tmp_path / "others")]
    assert run([*own, *keys, *device]) == RefusedError.exit_code
    batch = ["--keys", str(station.shop.keys), "--batch", "b1"]
    assert run([*own, *batch, *device]) == 7
    assert run([*own, "--batch", "b1", *device]) == 2
    assert "Traceback" not in capsys.readouterr().err


Pieces = dict[int, bytes]
WRONG_IMAGES: dict[str, tuple[Callable[[Station], Pieces], str]] = {
    "no records": (
        lambda s: {a: d for a, d in s.pieces.items() if a != MARKS.start},
        "nothing at 0x081E0000, expected the marks of",
    ),
    "no loader": (
        lambda s: {a: d for a, d in s.pieces.items() if a != 0x0800_0000},
        "nothing at 0x08000000, expected the loader of",
    ),
    "more than a factory image": (
        lambda s: {**s.pieces, STAGING.start: b"update"},
        "6 bytes at 0x08020000, expected loader, app and marks of",
    ),
    "no loader inside": (
        lambda s: {**s.pieces, 0x0800_0000: bytes(2000)},
        "no info block at 0x08000400",
    ),
    "a damaged record": (
        lambda s: {**s.pieces, MARKS.start: bytes(256)},
        "wrong CRC",
    ),
    "a record cut short": (
        lambda s: {**s.pieces, MARKS.start: bytes(100)},
        "expected a factory image",
    ),
    "another application": (
        lambda s: {**s.pieces, APP.start: s.shop.image(4000, seed=8)},
        "its record is not that of its application",
    ),
}


@pytest.mark.parametrize("name", WRONG_IMAGES)
def test_a_file_that_is_no_factory_image_is_told(
    station: Station, tmp_path: Path, name: str
) -> None:
    make, text = WRONG_IMAGES[name]
    path = tmp_path / "f.hex"
    path.write_bytes(write_hex(make(station)))

    with pytest.raises(FormatError, match=text) as caught:
        read_factory(path, station.layout)
    assert "splitflash factory build" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_read_back_is_what_was_built(station: Station) -> None:
    file = station.file()
    first: MarkRecord = parse_record(station.pieces[MARKS.start][:RECORD_SIZE])

    assert file.record == first
    blank = b"\xff" * FLASH_WORD
    filled = [data for data in station.pieces.values() if data != blank]
    assert list(file.content.values()) == filled
    assert file.loader.info == read_loader(station.shop.loader.elf).info
