"""The checklist for the first real board: complete, and typed as the tools take it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import workshop
from hardware.prepare import prepare
from ruamel.yaml import YAML

from packager.chip import CHIPS
from packager.cli import cli, run
from packager.layout import load_layout
from packager.option_bytes import checklist
from packager.reasons import EXPLANATIONS, Reason
from packager.sim.board import Board
from packager.update_file import read_update_file

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "hardware"
README = (FOLDER / "README.md").read_text()
LAYOUTS = {"rom": workshop.DEFAULT, "mirror": workshop.MIRROR, "protected": "h743_protected"}

MARKED = re.compile(
    r"not tested|untested|unverified|silicon|not with the program|not under Windows"
    r"|documented answers|never reported|nothing is reported|does not publish|sibling"
    r"|field report|Measured:|the system's half|nobody has (?:seen|tried|run)",
    re.IGNORECASE,
)
"""How documents and sources say that something was not seen on a chip."""
UNTESTED_CELL = re.compile(r"\| no \|$")
"""The same in the table of the kit's notes."""
SEARCHED = ("*.md", "*.html", "*.py", "*.c", "*.h", "*.yaml", "*.sh", "*.bat", "*.ld", "*.cmake")


def yaml(name: str) -> dict[str, object]:
    found = YAML(typ="safe", pure=True).load((FOLDER / name).read_text())
    assert isinstance(found, dict)
    return found


def steps() -> list[str]:
    """Return the names of the steps, in their order."""
    found = re.findall(r"^### (\d+)\. `([a-z0-9-]+)`: ", README, re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [name for _, name in found]


def commands(program: str) -> list[list[str]]:
    """Return every command line of a program, in the blocks of the checklist."""
    blocks = re.findall(r"^```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    return [line[1:] for line in lines if line[0] == program]


def registered() -> dict[str, list[str]]:
    """Return the words of every registered statement, by the file they stand in."""
    return {name: [entry["says"] for entry in entries] for name, entries in entries_by_file()}


def entries_by_file() -> list[tuple[str, list[dict[str, object]]]]:
    return [(name, list(entries)) for name, entries in yaml("unverified.yaml").items()]  # type: ignore[call-overload]


def uncovered(name: str, text: str) -> list[str]:
    """Return the lines that say "not seen on a chip" and are not registered."""
    known = registered().get(name, [])
    cell = UNTESTED_CELL if name.endswith("NOTES.md") else re.compile("(?!)")
    marked = [line for line in text.splitlines() if MARKED.search(line) or cell.search(line)]
    return [line for line in marked if not any(words in line for words in known)]


def searched() -> list[str]:
    """Return every document and source of the project, the tests aside."""
    found = [ROOT / "README.md"]
    for folder in ("packager", "mcu_loader", "layouts"):
        found += [path for pattern in SEARCHED for path in (ROOT / folder).rglob(pattern)]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def test_every_step_has_its_place_in_the_results_and_no_other() -> None:
    results = yaml("results.yaml")["steps"]

    assert isinstance(results, dict)
    assert list(results) == steps()
    for name, entry in results.items():
        assert entry["result"] in ("open", "pass", "fail"), name
        assert (entry["result"] == "open") == (entry["seen"] == ""), name


def test_every_step_says_what_to_expect() -> None:
    parts = re.split(r"^### ", README, flags=re.MULTILINE)[1:]

    assert len(parts) == len(steps())
    for part in parts:
        assert "Expect" in part, part.partition("\n")[0]


@pytest.mark.parametrize("arguments", commands("splitflash"), ids=" ".join)
def test_every_command_of_ours_is_one(arguments: list[str]) -> None:
    command: click.Command = cli
    context = None
    rest = arguments
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context, info_name=command.name)
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found

    command.make_context(command.name, list(rest), parent=context)


def test_every_block_is_of_programs_whose_lines_are_checked_here() -> None:
    blocks = re.findall(r"^```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    programs = {line.split()[0] for block in blocks for line in block.splitlines()}

    assert programs == {
        "splitflash",
        "python",
        "dfu-util",
        "STM32_Programmer_CLI",
        "arm-none-eabi-gdb",
    }
    assert commands("python") == [["tests/hardware/prepare.py", "hw"]]


def test_the_addresses_of_stock_tools_are_those_of_layouts_and_chip() -> None:
    chip = CHIPS["stm32h743xi"]
    known = {"0x5C001000", "0x1FF1E7FE", "0x5200201C", "0x08000000", "0x24000000"}
    known |= {f"0x{at:08X}" for at in (chip.unique_id.start, chip.flash_size_register)}
    for name in LAYOUTS.values():
        known.add(f"0x{workshop.layout_named(name).staging.start:08X}")
    lines = commands("dfu-util") + commands("STM32_Programmer_CLI")
    typed = [word for line in lines for word in line if re.fullmatch(r"0x\w{8}", word)]

    assert typed
    assert set(typed) <= known


def test_the_option_bytes_are_those_that_the_factory_prints() -> None:
    printed = {"displ", "RDP=0xAA", "RDP=0xCC", "IWDG1_SW=0"}
    for name in LAYOUTS.values():
        lines = checklist(workshop.layout_named(name), "hw/factory_SECRET.hex")
        printed |= {word for line in lines for word in line.split() if "=" in word}
    for line in commands("STM32_Programmer_CLI"):
        if "-ob" in line:
            assert set(line[line.index("-ob") + 1 :]) <= printed, line


@pytest.mark.parametrize("name", searched())
def test_what_was_not_seen_on_a_chip_has_a_step(name: str) -> None:
    lines = uncovered(name, (ROOT / name).read_text(encoding="utf-8"))

    assert not lines, "add it to tests/hardware/unverified.yaml, with the step that shows it"


def test_a_new_statement_without_a_step_would_be_found() -> None:
    line = "The door is not tested behind a hub of 1998."

    assert uncovered("README.md", line) == [line]
    assert uncovered("packager/kit/NOTES.md", "| it sings | a forum | no |")


def test_every_registered_statement_is_still_there_and_names_a_step() -> None:
    known = set(steps())
    for name, entries in entries_by_file():
        text = (ROOT / name).read_text(encoding="utf-8")
        for entry in entries:
            assert str(entry["says"]) in text, f"{name}: {entry['says']}"
            assert set(entry["steps"]) <= known, f"{name}: {entry['says']}"  # type: ignore[call-overload]
            assert entry["steps"]


def test_every_step_but_the_first_shows_a_statement() -> None:
    shown = {step for _, entries in entries_by_file() for e in entries for step in e["steps"]}  # type: ignore[attr-defined]
    told = {"prepare", "install", "refusals", "door-unplug"}

    assert set(steps()) - shown <= told


def test_the_files_that_are_prepared_do_on_the_virtual_board_what_the_steps_expect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, board = tmp_path / "hw" / "rom", str(tmp_path / "rom.sim")
    prepare(home.parent, ["rom"])
    product = str(home / "product.yaml")

    def says(*command: str) -> str:
        capsys.readouterr()
        assert run(command) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    def is_refused(name: str, reason: Reason) -> None:
        written_by_a_stock_tool = Board.load(board)
        update = read_update_file(home / name)
        written_by_a_stock_tool.program({update.address: update.data})
        written_by_a_stock_tool.save(board)
        assert "example application 2.0.0" in says("sim", "boot", board)
        assert EXPLANATIONS[reason].meaning in says("status", "--device", f"sim:{board}")

    factory = str(home / "factory_SECRET.hex")
    says("sim", "new", board, "--layout", product, "--factory", factory)
    assert "example application 1.0.0" in says("sim", "boot", board)
    says("drop", str(home / "update-2.0.0.hex"), "--device", f"sim:{board}")
    assert "the loader installed an update, installed version 2.0.0" in says("sim", "boot", board)
    is_refused("update-too-old.hex", Reason.COUNTER_TOO_OLD)
    is_refused("update-1.0.1.hex", Reason.VERSION_TOO_OLD)
    is_refused("update-damaged.hex", Reason.PAYLOAD_DIGEST)
    largest = load_layout(home / "product.yaml").largest_image
    assert f"image_size: {largest}" in says("inspect", str(home / "update-large.hex"))
