"""The folder or ZIP of a kit: whole or not at all, the same bytes every time, over nothing else."""

from __future__ import annotations

import io
import itertools
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import material
import pytest

from packager import files
from packager.cli import run
from packager.dfuse_file import read_dfuse
from packager.errors import FormatError, LayoutError, PackagerError, RefusedError
from packager.format import UPDATE_MAGIC
from packager.hex_file import read_hex
from packager.kit import bundle, contents
from packager.kit.contents import kit_files, plan_kit
from packager.kit.make import MadeKit, make_kit
from packager.layout import load_layout
from packager.update_file import decode, encode, read_update_file

from .conftest import program, update_for

SCRIPTS = {contents.CUBE_BAT, contents.CUBE_SH, contents.DFU_UTIL_SH}


@pytest.fixture
def update(tmp_path: Path) -> Path:
    path = tmp_path / "update.dfu"
    path.write_bytes(encode(update_for(material.layout()), "dfu"))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_three_forms_hold_the_same_update_under_its_own_name(made: MadeKit) -> None:
    folder = made.paths[0].parent
    update = made.kit.update

    for form in ("hex", "dfu", "bin"):
        found = read_update_file(folder / f"demo-h743zi-1.4.2.update.{form}")
        assert (found.data, found.form) == (update, form)
    assert set(content(folder)) == {
        *(f"demo-h743zi-1.4.2.update.{form}" for form in ("hex", "dfu", "bin")),
        *SCRIPTS,
        contents.HOWTO,
        contents.SUMS,
    }


def test_the_checksums_are_those_of_every_other_file(folder: Path) -> None:
    done = subprocess.run(
        [program("sha256sum"), "--check", "--strict", contents.SUMS],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(content(folder)) - 1


def test_shell_scripts_are_executable_and_nothing_else_is(folder: Path) -> None:
    for path in folder.iterdir():
        is_executable = bool(path.stat().st_mode & stat.S_IXUSR)
        assert is_executable == (path.suffix == ".sh"), path


def test_a_zip_holds_the_same_files_and_is_the_same_bytes_whenever_it_is_made(
    made: MadeKit, update: Path, tmp_path: Path
) -> None:
    found = replace(made.kit)
    first = bundle.zip_of(kit_files(found), found.stem)
    second = bundle.zip_of(kit_files(found), found.stem)

    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        stored = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        folder = content(made.paths[0].parent)
        assert {name: archive.read(entry) for name, entry in stored.items()} == folder
        for name, entry in stored.items():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.create_system == 3, "only then the mode counts"
            mode = entry.external_attr >> 16
            assert stat.S_ISREG(mode)
            assert bool(mode & 0o111) == name.endswith(".sh")
            assert entry.filename.startswith("demo-h743zi-1.4.2.update/")


def test_the_command_makes_a_zip_or_a_folder_and_tells_what_to_know(
    update: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = str(material.DEFAULT_LAYOUT)

    assert run(["kit", str(update), "-o", str(tmp_path / "k.zip"), "--layout", layout]) == 0
    told = capsys.readouterr()
    assert run(["kit", str(update), "-o", str(tmp_path / "new" / "k"), "--layout", layout]) == 0

    assert zipfile.is_zipfile(tmp_path / "k.zip")
    assert (tmp_path / "new" / "k" / contents.HOWTO).exists()
    assert "silent: usually 3 seconds, at most 20" in told.out
    assert "staging: 0x08020000, bank 1" in told.out
    assert "not part of our tests" in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k.zip", "new", "update.dfu"]


def test_without_a_layout_the_kit_is_made_from_what_the_update_tells(
    update: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["kit", str(update), "-o", str(tmp_path / "kit")]) == 0

    assert "no layout given" in capsys.readouterr().err
    assert "on demo-h743zi</h1>" in (tmp_path / "kit" / contents.HOWTO).read_text()


def test_an_older_kit_is_replaced_and_an_empty_folder_filled(update: Path, tmp_path: Path) -> None:
    output = tmp_path / "kit"
    output.mkdir()

    make_kit(update, output)
    before = content(output)
    newer = tmp_path / "newer.bin"
    newer.write_bytes(update_for(material.layout(), 30_000))
    make_kit(newer, output)

    assert content(output).keys() == before.keys()
    assert content(output) != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kit", "newer.bin", "update.dfu"]


def a_file_more(output: Path) -> None:
    (output / "notes.txt").write_text("mine")


def a_file_changed(output: Path) -> None:
    (output / contents.HOWTO).write_text("my own words")


def a_file_gone(output: Path) -> None:
    (output / contents.HOWTO).unlink()


def no_kit_at_all(output: Path) -> None:
    for path in output.iterdir():
        path.unlink()
    (output / contents.SUMS).write_text("nothing of ours\n")


def a_link_out(output: Path) -> None:
    shutil.copy(output / contents.HOWTO, output.parent / "elsewhere.html")
    (output / contents.HOWTO).unlink()
    (output / contents.HOWTO).symlink_to(output.parent / "elsewhere.html")


@pytest.mark.parametrize(
    "change", [a_file_more, a_file_changed, a_file_gone, no_kit_at_all, a_link_out]
)
def test_a_folder_with_anything_else_in_it_is_left_alone(
    update: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    output = tmp_path / "kit"
    make_kit(update, output)
    change(output)
    before = content(output)

    with pytest.raises(PackagerError, match="choose another folder"):
        make_kit(update, output)

    assert content(output) == before


def test_a_zip_of_an_older_kit_is_replaced(update: Path, tmp_path: Path) -> None:
    output = tmp_path / "kit.zip"
    make_kit(update, output)
    newer = tmp_path / "newer.bin"
    newer.write_bytes(update_for(material.layout(), 30_000))
    before = output.read_bytes()

    make_kit(newer, output)

    assert output.read_bytes() != before
    assert zipfile.is_zipfile(output)


def no_zip(path: Path) -> None:
    path.write_bytes(b"mine")


def a_zip_cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def a_zip_of_something_else(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday/beach.jpg", b"mine")


def a_zip_with_a_file_more(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", b"mine")


def a_zip_with_a_file_changed(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        held = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data + b"mine" * name.endswith(contents.HOWTO))


def a_zip_that_grows_without_end(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"kit/{contents.SUMS}", bytes(files.MAX_FILE_SIZE + 1))


def a_zip_with_a_password(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + flags] |= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        no_zip,
        a_zip_cut_short,
        a_zip_of_something_else,
        a_zip_with_a_file_more,
        a_zip_with_a_file_changed,
        a_zip_that_grows_without_end,
        a_zip_with_a_password,
    ],
)
def test_a_zip_that_is_no_kit_is_left_alone(
    update: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    output = tmp_path / "kit.zip"
    make_kit(update, output)
    change(output)
    before = output.read_bytes()

    with pytest.raises(PackagerError, match="or the ZIP of a kit as it was made; choose another"):
        make_kit(update, output)

    assert output.read_bytes() == before


def test_a_failure_while_writing_leaves_the_older_kit_and_nothing_else(
    update: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "kit"
    make_kit(update, output)
    before = content(output)
    written = 0

    def disk_gets_full(path: Path, data: bytes, mode: int) -> None:
        nonlocal written
        written += 1
        if written == 4:
            raise OSError(28, "No space left on device")
        files.create_exclusive(path, data, mode)

    monkeypatch.setattr(bundle, "create_exclusive", disk_gets_full)
    with pytest.raises(PackagerError, match="No space left on device"):
        make_kit(update, output)

    assert content(output) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kit", "update.dfu"]


def test_the_folder_one_stands_in_is_not_replaced(
    update: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kit").mkdir()
    monkeypatch.chdir(tmp_path / "kit")

    with pytest.raises(PackagerError, match="is the folder you are in"):
        make_kit(update, Path())


def test_a_file_in_the_place_of_the_folder_is_left_alone(update: Path, tmp_path: Path) -> None:
    (tmp_path / "kit").write_text("mine")

    with pytest.raises(PackagerError, match="is a file"):
        make_kit(update, tmp_path / "kit")

    assert (tmp_path / "kit").read_text() == "mine"


@pytest.mark.parametrize("rdp", [1, 2])
def test_a_read_protected_product_gets_no_kit_that_says_boot0(
    update: Path, tmp_path: Path, rdp: int
) -> None:
    layout = tmp_path / "product.yaml"
    text = material.DEFAULT_LAYOUT.read_text()
    layout.write_text(
        text.replace("rdp: 0", f"rdp: {rdp}").replace("recovery: rom", "recovery: none")
    )

    with pytest.raises(RefusedError, match=f"rdp {rdp}.*BOOT0 takes no update"):
        make_kit(update, tmp_path / "kit", layout)

    assert not (tmp_path / "kit").exists()


def test_an_update_for_another_layout_gets_no_kit(update: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="expected 'demo-h743zi-m'"):
        make_kit(update, tmp_path / "kit", material.mirror_layout().path)

    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    "product", [b"../../x", b'"&calc&"', b"%PATH%", b"$(id)", b"\xff\xfe", b""]
)
def test_a_product_that_no_layout_could_name_gets_no_kit(product: bytes) -> None:
    update = bytearray(update_for(material.layout()))
    update[16:32] = product.ljust(16, b"\0")

    with pytest.raises(FormatError, match="expected a-z 0-9"):
        plan_kit(decode(bytes(update)), None, "update.bin")


def test_a_missing_layout_is_named(update: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError):
        make_kit(update, tmp_path / "kit", tmp_path / "nowhere.yaml")


# -- traps of the tools, disarmed ------------------------------------------------------------------


def test_a_dfu_file_is_one_element_that_never_comes_back_to_a_sector(made: MadeKit) -> None:
    """Dfu-util erases a sector again when a later element lies in it."""
    for layout in (material.layout(), material.mirror_layout()):
        data = encode(update_for(layout, 400_000), "dfu")
        assert int.from_bytes(data[10:11], "little") == 1, "targets"
        assert int.from_bytes(data[11 + 270 : 11 + 274], "little") == 1, "elements"
        (start,) = read_dfuse(data, "update.dfu")
        assert start == layout.staging.start


def test_a_hex_file_is_one_ascending_run_inside_staging(made: MadeKit) -> None:
    """A record outside of flash makes STM32CubeProgrammer fail over USB."""
    layout = material.layout()
    text = encode(update_for(layout, 400_000), "hex")
    ((start, data),) = read_hex(text, "update.hex").items()

    assert layout.staging.start == start
    assert layout.staging.contains(start, len(data))
    offsets = [int(line[3:7], 16) for line in text.split() if line[7:9] == b"00"]
    assert all(b > a or b == 0 for a, b in itertools.pairwise(offsets))


def test_no_update_looks_like_a_prefix_that_dfu_util_cuts_off() -> None:
    magic = UPDATE_MAGIC
    is_lpc = magic[0] & 0x3F == 0x1A and magic[1] & 0x3F == 0x3F
    is_ti = magic[:2] == b"\x01\x00"

    assert not is_lpc
    assert not is_ti


def test_no_update_looks_like_a_program_to_leave_into() -> None:
    """The ROM jumps only to what begins with a stack pointer in RAM."""
    stack = int.from_bytes(UPDATE_MAGIC[:4], "little")

    assert material.layout().chip.ram_of(stack) is None


def test_nothing_in_a_kit_leaves_the_rom_or_names_a_bare_bin_without_its_address(
    made: MadeKit, mirror_made: MadeKit
) -> None:
    for path in (*made.paths, *mirror_made.paths):
        if path.suffix in (".sh", ".bat", ".html"):
            text = path.read_text()
            assert ":leave" not in text
            assert "mass-erase" not in text
            for line in text.splitlines():
                assert ".bin" not in line or line.startswith("file='"), line
                assert "-D " not in line or '-s "$address" -D ' in line, line


def test_dfu_util_is_offered_only_where_the_stock_one_never_hangs(
    made: MadeKit, mirror_made: MadeKit
) -> None:
    names = {path.name for path in mirror_made.paths}

    assert contents.DFU_UTIL_SH in {path.name for path in made.paths}
    assert contents.DFU_UTIL_SH not in names
    page = (mirror_made.paths[0].parent / contents.HOWTO).read_text()
    assert "do not use\ndfu-util" in page
    assert any("wait for ever" in note for note in mirror_made.notes)
    assert load_layout(material.mirror_layout().path).staging.start == 0x0810_0000
