"""What a command writes: it never costs a key, an input, another output or what is no file."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import material
import pytest
from elf_maker import Segment, make_elf
from test_cli import commands, splitflash
from test_factory import info_for, loader_elf

from packager.cli import run
from packager.cli.output import OutputPath
from packager.errors import PackagerError
from packager.files import SECRET_MODE, write_atomic
from packager.sim.board import Board

needs_fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
LINES = {
    "pack": "pack app.elf --layout product.yaml --keys keys --version 1.4.2 --counter 3 -o {}",
    "unpack": "unpack update.hex --layout product.yaml --keys keys -o {}",
    "kit": "kit update.hex -o {}",
    "factory build": "factory build app.elf --layout product.yaml --keys keys --version 1.4.2"
    " --counter 3 -o {}",
    "factory build --steps": "factory build app.elf --layout product.yaml --keys keys"
    " --version 1.4.2 --counter 3 -o f.hex --steps {}",
    "layout show": "layout show product.yaml --app app.elf --update update.hex --svg {}",
    "doctor": "doctor --device sim:board.sim --report {}",
    "sim read": "sim read board.sim 0x08000000 16 -o {}",
}
"""A command line for each option that names a file to write."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of everything that a command reads, and the folder one is in."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(material.key_folder(), tmp_path / "keys")
    shutil.copy(material.DEFAULT_LAYOUT, tmp_path / "product.yaml")
    (tmp_path / "app.elf").write_bytes(make_elf(Segment(0x0810_0000, material.image(30_000))))
    Board.new(material.layout().chip).save(tmp_path / "board.sim")
    assert run(LINES["pack"].format("update.hex").split()) == 0
    return tmp_path


def everything(folder: Path) -> dict[Path, bytes | int]:
    """Return the content of every file below a folder, or what else it is."""
    found = {path: path.lstat().st_mode for path in folder.rglob("*")}
    return {path: path.read_bytes() if stat.S_ISREG(mode) else mode for path, mode in found.items()}


def refused(line: str, output: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must not change a thing; return what it said."""
    before = everything(folder)
    capsys.readouterr()
    code = run([output if word == "{}" else word for word in line.split()])
    told = capsys.readouterr()
    assert code != 0
    assert told.out == "", "refused before any work"
    assert everything(folder) == before
    return told.err


def test_every_option_that_names_an_output_is_known_as_one() -> None:
    names = {"--output", "--report", "--steps", "--svg"}
    types = [
        param.type
        for context in commands()
        for param in context.command.params
        if names & set(param.opts)
    ]

    outputs = [one for one in types if isinstance(one, OutputPath)]
    assert outputs == types
    assert sum(one.file_okay for one in outputs) == len(LINES), "each has a line above"


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_an_empty_name_is_wrong_usage(
    line: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the name is empty" in refused(line, "", shop, capsys)


def test_an_empty_name_of_a_folder_is_not_the_folder_one_is_in(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("keygen {}", "demo --keep {}", "layout export product.yaml -o {}"):
        assert "the name is empty" in refused(line, "", shop, capsys)


def test_nothing_can_be_written_without_a_name() -> None:
    with pytest.raises(PackagerError, match="names no file"):
        write_atomic(Path(), b"text")


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_key_is_never_replaced(line: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = "keys/signing/spare.pem"
    shutil.copy(key, "spare.zip")

    for name in (key, "spare.zip"):
        told = refused(line, name, shop, capsys)
        assert (
            told == f"splitflash: {name}: holds a key, keys are never replaced; name another file\n"
        )


@needs_fifos
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_what_is_no_file_is_never_turned_into_one(
    line: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo("pipe.hex")
    Path("link.hex").symlink_to("elsewhere.hex")

    for name in ("pipe.hex", "link.hex"):
        assert f"{name}: is no regular file" in refused(line, name, shop, capsys)


@pytest.mark.parametrize(
    ("command", "name", "of"),
    [
        ("pack", "app.elf", "'APP'"),
        ("pack", "./keys/../app.elf", "'APP'"),
        ("unpack", "update.hex", "'FILE'"),
        ("unpack", "product.yaml", "'--layout'"),
        ("kit", "update.hex", "'UPDATE'"),
        ("factory build", "app.elf", "'APP'"),
        ("factory build --steps", "f.hex", "'--steps'"),
        ("factory build --steps", "product.yaml", "'--layout'"),
        ("layout show", "product.yaml", "'LAYOUT'"),
        ("layout show", "app.elf", "'--app'"),
        ("doctor", "board.sim", "'--device'"),
        ("sim read", "board.sim", "'BOARD'"),
    ],
)
def test_a_command_never_replaces_what_it_reads_or_what_else_it_writes(
    command: str, name: str, of: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(LINES[command], name, shop, capsys)

    assert f"'{Path(name)}' is {of}" in told
    assert "too; name another file" in told


def test_a_second_name_of_an_input_is_the_input(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.link("app.elf", "app.hex")

    assert "is 'APP' too" in refused(LINES["pack"], "app.hex", shop, capsys)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("pack", "u.hex"),
        ("pack", "folder/"),
        ("unpack", "image.bin"),
        ("kit", "kit.zip"),
        ("layout show", "map.svg"),
        ("doctor", "report.json"),
        ("sim read", "flash.bin"),
    ],
)
def test_what_a_command_wrote_before_it_writes_again(command: str, name: str, shop: Path) -> None:
    line = LINES[command].format(name).split()
    first = run(line)
    before = everything(shop).keys()

    assert run(line) == first
    assert everything(shop).keys() == before
    assert Path(name).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a file name there is text")
def test_a_name_that_is_no_text_is_escaped_where_it_is_written_and_shown(shop: Path) -> None:
    layout, image = Path("l\udcff.yaml"), Path("f\udcff.hex")
    shutil.copy("product.yaml", layout)
    loader_elf(shop / "loader.elf", info_for(material.layout(), shop / "keys"))
    given = f"app.elf --layout {layout} --keys keys --loader loader.elf --version 1.4.2 --counter 3"

    for line in (f"layout export {layout} -o out", f"factory build {given} -o {image}"):
        done = splitflash(*line.split(), PYTHONIOENCODING="utf-8:strict")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)

    assert "wrote: f\\udcff.hex" in done.stdout
    assert "f\\udcff.hex" in Path("factory-steps.txt").read_text()
    assert " from l\\udcff.yaml, " in Path("out/splitflash_memory.ld").read_text()
    assert run(["layout", "export", str(layout), "-o", "out", "--check"]) == 0


def test_a_secret_that_is_written_again_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "secret.bin"
    for data in (b"first", b"second"):
        write_atomic(path, data, SECRET_MODE)

    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == SECRET_MODE
