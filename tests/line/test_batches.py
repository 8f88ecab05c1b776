"""Batches: device keys of their own names, from keygen to boards that open updates or do not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import told
import workshop
from material import DEFAULT_LAYOUT, key_folder
from test_factory import info_for, loader_elf

from packager import keys
from packager.cli import run
from packager.errors import KeyFileError, RefusedError
from packager.factory import check_key_folder
from packager.hex_file import read_hex
from packager.keys import keygen, keygen_batch
from packager.loader_file import read_loader
from packager.reasons import Reason
from packager.sim.board import Board
from packager.update_file import read_update_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a key folder."""
    shutil.copytree(key_folder(), tmp_path / "keys")
    return tmp_path / "keys"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


# -- keygen ---------------------------------------------------------------------------------------


def test_a_batch_adds_two_files_and_touches_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(folder)

    code, out, _ = said(capsys, "keygen", folder, "--batch", "2026-w48")

    after = files(folder)
    new = {"device/2026-w48.pem", "public/2026-w48.public.pem"}
    (key,) = keys.load_device_keys(folder, ["2026-w48"])
    assert code == 0
    assert set(after) - set(before) == new
    assert before.items() <= after.items()
    assert f"2026-w48: {key.key_id.hex()}" in out
    assert (folder / "device/2026-w48.pem").stat().st_mode & 0o777 == 0o600


def test_the_public_half_of_a_batch_belongs_to_its_device_key(folder: Path) -> None:
    made = keygen_batch(folder, "b1")

    (device,) = keys.load_device_keys(folder, ["b1"])
    (recipient,) = keys.load_recipients(folder, ["b1"])
    assert device.public == recipient.raw
    assert made.fingerprints == {"b1": device.key_id}


@pytest.mark.parametrize("name", ["device", "b1"])
@pytest.mark.parametrize("role", ["device", "public", "both"])
def test_a_name_that_is_taken_is_refused_and_nothing_is_replaced(
    folder: Path, name: str, role: str
) -> None:
    if name == "b1":
        keygen_batch(folder, "b1")
    if role != "both":  # a name is taken, too, when half of its key was moved elsewhere
        kept = {"device": f"public/{name}.public.pem", "public": f"device/{name}.pem"}[role]
        (folder / kept).unlink()
    before = files(folder)

    with pytest.raises(KeyFileError, match="exists already, keys are never replaced"):
        keygen_batch(folder, name)
    assert files(folder) == before


@pytest.mark.parametrize(
    "name", ["", "B1", "a b", "../b1", "b1.public", "-b", "a/b", "ü", "a" * 33, "active", "spare"]
)
def test_what_is_no_name_for_a_batch_is_refused(folder: Path, name: str) -> None:
    before = files(folder)

    with pytest.raises(KeyFileError, match="no name for a batch"):
        keygen_batch(folder, name)
    assert files(folder) == before


def test_a_batch_needs_the_product_it_belongs_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, "keygen", tmp_path / "typo", "--batch", "b1")

    assert code == KeyFileError.exit_code
    assert "0 files *.verify.pem" in err
    assert not (tmp_path / "typo").exists()


def test_the_release_desk_and_the_loader_desk_can_each_do_without_the_others_secrets(
    folder: Path,
) -> None:
    shutil.rmtree(folder / "signing")

    assert keygen_batch(folder, "b1").fingerprints.keys() == {"b1"}
    assert not (folder / "signing").exists()


# -- choosing -------------------------------------------------------------------------------------


def five(folder: Path) -> list[str]:
    """Make batches b1 to b4 beside ``device``; return all five names."""
    names = [f"b{number}" for number in range(1, 5)]
    for name in names:
        keygen_batch(folder, name)
    return [*names, "device"]


def pack(capsys: pytest.CaptureFixture[str], folder: Path, *to: str) -> tuple[int, str, str]:
    app = folder.parent / "app.bin"
    app.write_bytes(workshop.image_for(workshop.layout_named(workshop.DEFAULT), 3000))
    options = ["--layout", DEFAULT_LAYOUT, "--keys", folder, "--version", "2.0.0", "--counter", "1"]
    names = [word for name in to for word in ("--to", name)]
    return said(capsys, "pack", app, *options, *names, "-o", folder.parent / "update.hex")


def test_pack_encrypts_to_just_the_batches_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five(folder)
    shutil.rmtree(folder / "device")

    code, out, _ = pack(capsys, folder, "b3", "b1")

    wanted = {key.key_id for key in keys.load_recipients(folder, ["b1", "b3"])}
    header = read_update_file(folder.parent / "update.hex").header
    assert code == 0
    assert {entry.key_id for entry in header.recipients} == wanted
    assert len(header.recipients) == 2
    assert "recipients: b1 " in out


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ([], "5 keys (b1, b2, b3, b4, device), an update has room for 4, expected 1 to 4; choose"),
        (["b9"], "no key 'b9', there are: b1, b2, b3, b4, device; name one of these"),
        (["b1", "b2", "b1"], "'b1' named twice, there are: b1, b2, b3, b4, device; name each key"),
        (
            ["b1", "b2", "b3", "b4", "device"],
            "5 keys named (b1, b2, b3, b4, device), an update has room for 4",
        ),
    ],
)
def test_a_choice_of_recipients_that_cannot_be_is_refused_with_what_there_is(
    folder: Path, capsys: pytest.CaptureFixture[str], to: list[str], text: str
) -> None:
    five(folder)

    code, _, err = pack(capsys, folder, *to)

    assert code == KeyFileError.exit_code
    assert text in err
    assert "move the others away" not in err
    assert err.count("\n") == 1
    assert not (folder.parent / "update.hex").exists()


def test_with_more_keys_than_an_update_has_room_for_pack_points_to_its_option(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five(folder)

    assert "choose with --to" in pack(capsys, folder)[2]


def test_of_a_thousand_batches_an_error_names_the_first_and_their_number(folder: Path) -> None:
    found = [keys.Recipient(f"b{number:04}", bytes(32)) for number in range(1000)]

    with pytest.raises(KeyFileError, match=r"1000 keys \(b0000, .*, b0019, and 980 more\)"):
        keys.choose_keys(found, [], keys.UPDATE_ROOM, folder)


@pytest.mark.parametrize("command", ["loader", "factory"])
@pytest.mark.parametrize(
    ("batches", "text"),
    [
        ([], "5 keys (b1, b2, b3, b4, device), a loader has room for 2, expected 1 to 2; choose"),
        (["b9"], "no key 'b9', there are: b1, b2, b3, b4, device"),
        (["b1", "b1"], "'b1' named twice"),
        (["b1", "b2", "b3"], "3 keys named (b1, b2, b3), a loader has room for 2"),
    ],
)
def test_a_choice_of_device_keys_that_cannot_be_is_refused_with_what_there_is(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    batches: list[str],
    text: str,
) -> None:
    five(folder)
    app, out = folder.parent / "app.bin", folder.parent / "out.hex"
    app.write_bytes(workshop.image_for(workshop.layout_named(workshop.DEFAULT), 3000))
    product = ["--layout", DEFAULT_LAYOUT, "--keys", folder, "-o", out]
    names = [word for name in batches for word in ("--batch", name)]
    first = {"loader": [], "factory": [app, "--version", "1.0.0", "--counter", "1"]}[command]

    code, _, err = said(capsys, command, "build", *first, *product, *names)

    assert code == KeyFileError.exit_code
    assert text in err
    assert not out.exists()


def test_every_device_key_opens_an_update_for_its_batch(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five(folder)
    pack(capsys, folder, "b4")

    update = folder.parent / "update.hex"
    assert said(capsys, "verify", update, "--layout", DEFAULT_LAYOUT, "--keys", folder)[0] == 0
    (folder / "device/b4.pem").unlink()
    code, _, err = said(capsys, "verify", update, "--layout", DEFAULT_LAYOUT, "--keys", folder)
    assert code == 6
    assert "encrypted for" in err


# -- loader and keys fit --------------------------------------------------------------------------


def test_a_loader_of_one_batch_fits_a_folder_of_many_and_no_other_batch(folder: Path) -> None:
    keygen_batch(folder, "b1")
    (only_b1,) = keys.load_recipients(folder, ["b1"])
    layout = workshop.layout_named(workshop.DEFAULT)
    info = replace(info_for(layout, folder), device_key_ids=(only_b1.key_id,))
    for number in range(5):
        keygen_batch(folder, f"x{number}")
    loader = read_loader(loader_elf(folder.parent / "b1.elf", info))

    check_key_folder(loader, folder)
    check_key_folder(loader, folder, ["b1"])
    with pytest.raises(RefusedError, match="expected those of batch device, device "):
        check_key_folder(loader, folder, ["device"])
    with pytest.raises(RefusedError, match=r"holds device keys b1 .* of batch b1 and x0"):
        check_key_folder(loader, folder, ["b1", "x0"])
    with pytest.raises(KeyFileError, match="no key 'b7'"):
        check_key_folder(loader, folder, ["b7"])


# -- on boards ------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A product with two batches: a key folder, and a factory-fresh board of each."""

    keys: Path
    folder: Path

    def board(self, batch: str) -> Board:
        return Board.load(self.folder / f"{batch}.board")

    def update(self, *to: str) -> bytes:
        return read_update_file(self.folder / f"to-{'-'.join(to)}.hex").data


LAYOUT = workshop.layout_named(workshop.DEFAULT)
NEW = workshop.image_for(LAYOUT, 5000, seed=2)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, compiler: workshop.Compiler) -> Line:
    """Everything by the command line, but the compiler, which is the tests' cached one."""
    folder = tmp_path_factory.mktemp("line")
    key_dir = folder / "keys"
    keygen(key_dir)
    (folder / "old.bin").write_bytes(workshop.image_for(LAYOUT, 4000, seed=1))
    (folder / "new.bin").write_bytes(NEW)
    product = ["--layout", str(DEFAULT_LAYOUT), "--keys", str(key_dir), "--counter", "1"]
    for batch in ("b1", "b2"):
        assert run(["keygen", str(key_dir), "--batch", batch]) == 0
        board = Board.new(LAYOUT.chip)
        board.program(read_hex(factory_image(folder, batch, product, compiler), "factory"))
        board.save(folder / f"{batch}.board")
    for to in (["b1"], ["b1", "b2"]):
        options = [word for name in to for word in ("--to", name)]
        out = folder / f"to-{'-'.join(to)}.hex"
        app = str(folder / "new.bin")
        packed = ["pack", app, *product, "--version", "2.0.0", *options, "-o", str(out)]
        assert run(packed) == 0
    return Line(key_dir, folder)


def factory_image(
    folder: Path, batch: str, product: list[str], compiler: workshop.Compiler
) -> bytes:
    from packager.loader_build import build_loader
    from packager.loader_parts import load_loader_keys

    held = load_loader_keys(folder / "keys", [batch])
    built = build_loader(LAYOUT, held, folder / batch, toolchain=compiler())
    out = folder / f"{batch}.hex"
    options = ["--batch", batch, "--loader", str(built.elf), "--version", "1.0.0", "-o", str(out)]
    assert run(["factory", "build", str(folder / "old.bin"), *product, *options]) == 0
    return out.read_bytes()


@pytest.mark.parametrize(
    ("to", "batch", "reason"),
    [
        (("b1",), "b1", Reason.NONE),
        (("b1",), "b2", Reason.UNKNOWN_RECIPIENT),
        (("b1", "b2"), "b1", Reason.NONE),
        (("b1", "b2"), "b2", Reason.NONE),
    ],
)
def test_a_board_opens_what_was_packed_to_its_batch_and_nothing_else(
    line: Line, to: tuple[str, ...], batch: str, reason: Reason
) -> None:
    board = line.board(batch)
    board.program({LAYOUT.staging.start: line.update(*to)})

    ended = told.boot(board, LAYOUT, strict=False)

    assert workshop.runs(ended.report)
    assert ended.result is not None
    assert ended.result.reason is reason
    has_new = board.read(LAYOUT.app.start, len(NEW)) == NEW
    assert has_new == (reason is Reason.NONE)


def test_a_drop_to_a_board_of_another_batch_is_refused_before_anything_is_erased(
    line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copy(line.folder / "b2.board", tmp_path / "b2.board")
    before = Board.load(path).snapshot()

    code, _, err = said(capsys, "drop", line.folder / "to-b1.hex", "--device", f"sim:{path}")

    assert code == RefusedError.exit_code
    assert "this device has" in err
    assert Board.load(path).snapshot() == before


@pytest.mark.parametrize(
    ("options", "is_told"), [((), True), (("--batch", "b2"), False), (("--batch", "device"), False)]
)
def test_a_loader_of_both_keys_that_nobody_chose_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], is_told: bool
) -> None:
    keygen(tmp_path / "keys")
    keygen_batch(tmp_path / "keys", "b2")
    common = ("--layout", str(workshop.layout_named(workshop.DEFAULT).path))
    common += ("--keys", str(tmp_path / "keys"), *options)

    assert run(("loader", "export", *common, "-o", str(tmp_path / "exported"))) == 0
    exported = capsys.readouterr().err
    assert run(("loader", "build", *common, "-o", str(tmp_path / "loader"))) == 0
    built = capsys.readouterr().err

    told = "holds 2 device keys: one opened device opens the updates of every batch among them"
    assert (told in exported, told in built) == (is_told, is_told)


def test_a_factory_image_takes_no_loader_of_another_batch(
    line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = line.folder / "b1" / "loader_SECRET.elf"
    options = ["--layout", DEFAULT_LAYOUT, "--keys", line.keys, "--counter", "1"]
    more = ["--batch", "b2", "--loader", loader, "--version", "1.0.0", "-o", tmp_path / "f.hex"]

    code, _, err = said(capsys, "factory", "build", line.folder / "old.bin", *options, *more)

    assert code == RefusedError.exit_code
    assert "expected those of batch b2" in err
    assert list(tmp_path.iterdir()) == []
