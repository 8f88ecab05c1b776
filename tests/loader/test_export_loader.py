"""``splitflash loader export``: a folder that builds the same loader without Python."""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import cmake
import pytest
import workshop
from workshop import Workshop

from packager.cli import run
from packager.errors import BuildError, FormatError, KeyFileError, PackagerError
from packager.export.loader import KEYS_NAME, LoaderExport
from packager.keys import keygen, keygen_batch, load_device_keys
from packager.loader_build import build_loader
from packager.loader_file import read_loader
from packager.loader_parts import (
    CONFIG_NAME,
    DEVELOPMENT,
    DFU_DOOR,
    ELF_NAME,
    HEX_NAME,
    NO_DOOR,
    PRODUCTION,
    ROM_DOOR,
)
from packager.sim.board import Board, Outcome
from packager.virtual_flash import flash_files

PROTECTED = "h743_protected"
EVERY = sorted(path.stem for path in workshop.layouts().glob("*.yaml"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A search path with CMake, Ninja, Make and the GNU Arm tools, and no Python."""
    workshop.needs("gcc")
    return cmake.bare_path(tmp_path_factory.mktemp("bin"), *cmake.GENERATORS.values())


@pytest.fixture
def product(build: workshop.Build) -> Workshop:
    """The default product, its loader built by gcc."""
    return build(workshop.DEFAULT, "gcc")


def export(shop: Workshop, folder: Path, *options: str) -> list[str]:
    return [
        *("loader", "export", "--layout", str(shop.layout.path), "--keys", str(shop.keys)),
        *("-o", str(folder), *options),
    ]


@pytest.mark.parametrize(
    ("name", "generator"),
    [
        (workshop.DEFAULT, "Ninja"),
        (workshop.DEFAULT, "Unix Makefiles"),
        (PROTECTED, "Ninja"),
    ],
)
def test_cmake_without_python_makes_the_very_bytes_of_loader_build(
    build: workshop.Build, path: str, tmp_path: Path, name: str, generator: str
) -> None:
    shop = build(name, "gcc")
    LoaderExport(shop.layout, shop.keys, with_device_key=True).write(tmp_path / "exported")

    out = cmake.build(path, tmp_path / "exported", tmp_path / "out", "-G", generator)

    assert (out / ELF_NAME).read_bytes() == shop.loader.elf.read_bytes()


def test_what_was_built_there_boots_an_application(
    product: Workshop, path: str, tmp_path: Path
) -> None:
    LoaderExport(product.layout, product.keys, with_device_key=True).write(tmp_path / "exported")
    out = cmake.build(path, tmp_path / "exported", tmp_path / "out", "-G", "Ninja")
    app, factory = tmp_path / "app.bin", tmp_path / "factory_SECRET.hex"
    app.write_bytes(product.image(4000))
    common = ["--layout", str(product.layout.path), "--keys", str(product.keys)]
    made = ["--loader", str(out / ELF_NAME), "--version", "1.0.0", "--counter", "1"]

    assert run(["factory", "build", str(app), *common, *made, "-o", str(factory)]) == 0

    board = Board.new(product.layout.chip)
    flash_files(board, product.layout, factory=factory)
    assert board.boot().outcome is Outcome.APP_RUNS


def test_its_hex_holds_what_its_elf_holds(product: Workshop, path: str, tmp_path: Path) -> None:
    from packager.hex_file import read_hex
    from packager.image import elf_segments

    LoaderExport(product.layout, product.keys, with_device_key=True).write(tmp_path / "exported")
    out = cmake.build(path, tmp_path / "exported", tmp_path / "out", "-G", "Ninja")

    assert read_hex((out / HEX_NAME).read_bytes(), "hex") == elf_segments(out / ELF_NAME)


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_nobody_else_can_read_the_key_or_what_is_built_with_it(
    product: Workshop, path: str, tmp_path: Path
) -> None:
    LoaderExport(product.layout, product.keys, with_device_key=True).write(tmp_path / "exported")
    out = cmake.build(path, tmp_path / "exported", tmp_path / "out", "-G", "Ninja")

    assert stat.S_IMODE((tmp_path / "exported" / KEYS_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700


def test_without_the_device_key_the_build_stops_and_says_how_to_get_it(
    product: Workshop, path: str, tmp_path: Path
) -> None:
    assert run(export(product, tmp_path / "exported")) == 0

    done = cmake.run(path, "-S", tmp_path / "exported", "-B", tmp_path / "out", "-G", "Ninja")

    assert done.returncode != 0
    assert f"{KEYS_NAME}: missing, it holds the device key" in " ".join(done.stderr.split())
    assert not list((tmp_path / "out").rglob("*.o"))


def test_the_keys_of_another_loader_do_not_build(
    product: Workshop, path: str, tmp_path: Path
) -> None:
    keygen(tmp_path / "keys")
    LoaderExport(product.layout, tmp_path / "keys", with_device_key=True).write(tmp_path / "other")
    LoaderExport(product.layout, product.keys).write(tmp_path / "exported")
    shutil.copy(tmp_path / "other" / KEYS_NAME, tmp_path / "exported")

    done = cmake.run(path, "-S", tmp_path / "exported", "-B", tmp_path / "out", "-G", "Ninja")

    assert done.returncode != 0
    assert "holds other keys than config.c names" in " ".join(done.stderr.split())


def test_a_key_file_that_comes_later_makes_it_whole(
    product: Workshop, path: str, tmp_path: Path
) -> None:
    """The developer has no device key; the factory adds the one file."""
    public = tmp_path / "keys"
    shutil.copytree(product.keys / "public", public / "public")
    LoaderExport(product.layout, public).write(tmp_path / "exported")
    LoaderExport(product.layout, product.keys, with_device_key=True).write(tmp_path / "factory")
    shutil.copy(tmp_path / "factory" / KEYS_NAME, tmp_path / "exported")

    out = cmake.build(path, tmp_path / "exported", tmp_path / "out", "-G", "Ninja")

    assert (out / ELF_NAME).read_bytes() == product.loader.elf.read_bytes()


@pytest.mark.parametrize("name", EVERY)
def test_no_secret_is_exported_unless_asked_for(tmp_path: Path, name: str) -> None:
    keygen(tmp_path / "keys")
    secret = load_device_keys(tmp_path / "keys")[0].secret
    written = " ".join(f"0x{byte:02x}," for byte in secret[:4])
    layout = workshop.layout_named(name)

    without = LoaderExport(layout, tmp_path / "keys").files()
    with_key = LoaderExport(layout, tmp_path / "keys", with_device_key=True).files()

    assert set(with_key) - set(without) == {KEYS_NAME}
    assert {name: with_key[name] for name in without} == without
    assert written in with_key[KEYS_NAME].decode()
    assert not any(written in text.decode() for text in without.values())


@pytest.mark.parametrize(
    ("name", "dev", "own", "other"),
    [
        (workshop.DEFAULT, False, (*ROM_DOOR, *PRODUCTION), (*DFU_DOOR, *NO_DOOR, *DEVELOPMENT)),
        (workshop.DEFAULT, True, (*ROM_DOOR, *DEVELOPMENT), (*DFU_DOOR, *NO_DOOR, *PRODUCTION)),
        (PROTECTED, False, (*DFU_DOOR, *PRODUCTION), (*ROM_DOOR, *NO_DOOR, *DEVELOPMENT)),
    ],
)
def test_only_the_files_that_this_loader_links_are_exported(
    tmp_path: Path, name: str, dev: bool, own: tuple[str, ...], other: tuple[str, ...]
) -> None:
    keygen(tmp_path / "keys")
    exported = LoaderExport(workshop.layout_named(name), tmp_path / "keys", dev).files()

    assert {f"src/{part}" for part in own} <= set(exported)
    assert not {f"src/{part}" for part in other} & set(exported)
    assert not any("examples" in file for file in exported)


@pytest.mark.parametrize("file", ["CMakeLists.txt", "README.md", "config.c", "loader.ld"])
def test_what_is_generated_says_of_which_layout(
    product: Workshop, tmp_path: Path, file: str
) -> None:
    LoaderExport(product.layout, product.keys).write(tmp_path / "exported")

    first = (tmp_path / "exported" / file).read_text().splitlines()[0]
    assert f"{product.layout.path.name}, layout id {product.layout.layout_id.hex()}" in first


def test_a_layout_whose_name_is_no_text_is_named_all_the_same(product: Workshop) -> None:
    layout = replace(product.layout, path=Path("l\udcff.yaml"))

    exported = LoaderExport(layout, product.keys).files()

    assert b" from l\\udcff.yaml, layout id " in exported[CONFIG_NAME]


def test_the_licences_are_with_it(product: Workshop, tmp_path: Path) -> None:
    LoaderExport(product.layout, product.keys).write(tmp_path / "exported")

    monocypher = (tmp_path / "exported" / "monocypher" / "LICENCE.txt").read_text()
    assert "SPDX-License-Identifier: BSD-2-Clause OR CC0-1.0" in monocypher
    assert "Redistributions in binary form must reproduce" in monocypher
    assert "Apache License" in (tmp_path / "exported" / "LICENSE").read_text()


def test_a_development_loader_is_exported_as_one(
    product: Workshop, path: str, tmp_path: Path, compiler: workshop.Compiler
) -> None:
    assert run(export(product, tmp_path / "exported", "--dev", "--with-device-key")) == 0
    out = cmake.build(path, tmp_path / "exported", tmp_path / "out", "-G", "Ninja")
    built = build_loader(
        product.layout, product.keys, tmp_path / "built", dev=True, toolchain=compiler("gcc")
    )

    assert read_loader(out / ELF_NAME).info.is_dev
    assert (out / ELF_NAME).read_bytes() == built.elf.read_bytes()


def test_check_is_content_with_what_was_just_exported_and_names_what_was_changed(
    product: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exported"
    run(export(product, folder))
    capsys.readouterr()

    assert run(export(product, folder, "--check")) == 0
    assert capsys.readouterr().out == f"{folder}: current\n"

    (folder / "src" / "main.c").write_text("// mine\n")
    assert run(export(product, folder, "--check")) == FormatError.exit_code
    assert f"main.c: differs from {product.layout.path.name}" in capsys.readouterr().err


def test_check_with_the_device_key_misses_a_key_that_is_not_there(
    product: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(export(product, tmp_path / "exported"))

    check = ("--check", "--with-device-key")
    assert run(export(product, tmp_path / "exported", *check)) == FormatError.exit_code
    assert f"{KEYS_NAME}: is missing for" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(
    product: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")

    assert run(export(product, tmp_path / "mine")) == PackagerError.exit_code
    assert "exists already, expected a new or empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes.txt"]


def test_an_empty_folder_is_filled(product: Workshop, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()

    assert run(export(product, tmp_path / "new")) == 0
    assert (tmp_path / "new" / "CMakeLists.txt").is_file()


def test_the_folder_one_stands_in_is_not_replaced(
    product: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exported").mkdir()
    monkeypatch.chdir(tmp_path / "exported")

    with pytest.raises(PackagerError, match="is the folder you are in"):
        LoaderExport(product.layout, product.keys).write(Path())

    Path("still-there").touch()
    assert (tmp_path / "exported" / "still-there").exists()


def test_a_write_that_fails_leaves_nothing(
    product: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from packager import files

    real = files.create_exclusive

    def full_disk(path: Path, data: bytes, mode: int) -> None:
        if path.name == "config.c":
            raise OSError(28, "No space left on device")
        real(path, data, mode)

    monkeypatch.setattr(files, "create_exclusive", full_disk)

    with pytest.raises(PackagerError, match="No space left on device"):
        LoaderExport(product.layout, product.keys, with_device_key=True).write(
            tmp_path / "exported"
        )
    assert not list(tmp_path.iterdir())


def test_without_a_device_key_to_export_nothing_is_written(
    product: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = tmp_path / "keys"
    shutil.copytree(product.keys / "public", public / "public")
    shop = Workshop(product.layout, public, product.loader)

    code = run(export(shop, tmp_path / "exported", "--with-device-key"))

    assert code == KeyFileError.exit_code
    assert "expected 1 to 2" in capsys.readouterr().err
    assert not (tmp_path / "exported").exists()


def test_without_the_device_key_nobody_looks_into_its_folder(
    product: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keygen(tmp_path / "keys")
    public = shutil.copytree(tmp_path / "keys" / "public", tmp_path / "only" / "public").parent
    (tmp_path / "keys" / "device" / "device.pem").write_text("nothing to read for you")
    shop = Workshop(product.layout, tmp_path / "keys", product.loader)

    assert run(export(shop, tmp_path / "exported")) == 0

    assert capsys.readouterr().err == ""
    LoaderExport(product.layout, public).check(tmp_path / "exported")


def test_more_batches_than_a_loader_has_room_for_are_not_guessed_from(
    product: Workshop, path: str, tmp_path: Path
) -> None:
    keygen(tmp_path / "keys")
    for name in ("b2", "b3"):
        keygen_batch(tmp_path / "keys", name)
    public = shutil.copytree(tmp_path / "keys" / "public", tmp_path / "only" / "public").parent

    with pytest.raises(KeyFileError, match=r"3 keys .*, a loader has room for 2.*--batch"):
        LoaderExport(product.layout, public).write(tmp_path / "exported")
    one = LoaderExport(product.layout, public, batches=("b2",)).files()
    with_key = LoaderExport(
        product.layout, tmp_path / "keys", with_device_key=True, batches=("b2",)
    ).files()
    assert {name: with_key[name] for name in one} == one


def test_its_notes_say_how_to_get_the_key_of_this_very_loader(
    product: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader of one batch, from a folder of keys that has others as well."""
    keygen(tmp_path / "keys")
    keygen_batch(tmp_path / "keys", "b2")
    shutil.copy(product.layout.path, tmp_path)
    exported = LoaderExport(product.layout, tmp_path / "keys", dev=True, batches=("b2",)).files()
    command = re.search(r"^splitflash (.*)$", exported["README.md"].decode(), re.MULTILINE)
    assert command

    monkeypatch.chdir(tmp_path)
    assert run(command[1].split()) == 0

    with_key = tmp_path / "with-key"
    assert (with_key / KEYS_NAME).is_file()
    assert {name: (with_key / name).read_bytes() for name in exported} == exported


def test_a_missing_monocypher_is_a_build_error(product: Workshop, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="Monocypher"):
        LoaderExport(product.layout, product.keys, monocypher=tmp_path / "none").write(
            tmp_path / "exported"
        )
    assert not (tmp_path / "exported").exists()
