"""README.md as a newcomer reads it: every shell block is run, every table is compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import workshop

from packager import errors
from packager.export import FILES, NOTES_FILE
from packager.layout import load_layout

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEVELOPER = "For the developer: from a CubeMX project to the first update"


def section(heading: str) -> str:
    """Return the text below a heading of the second level."""
    _, _, rest = README.partition(f"\n## {heading}\n")
    assert rest, f"README has no '{heading}'"
    return rest.partition("\n## ")[0]


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """Return language and text of the blocks in these languages, indented ones too."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [
        (language, re.sub(f"^{indent}", "", block, flags=re.MULTILINE))
        for indent, language, block in found
        if language in languages
    ]


def shell_blocks(text: str) -> list[str]:
    """Return the shell blocks of a text."""
    return [block for _, block in blocks(text, "sh")]


@pytest.fixture
def developer(tmp_path: Path) -> Path:
    """A developer's folder, with nothing in it but what is in this one."""
    workshop.needs("gcc")
    workshop.needs_programs("cmake", "ninja", "git")
    for name in ("layouts", "mcu_loader"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-euc", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_developers_walk_through_works_line_by_line_and_ends_with_the_new_version(
    developer: Path,
) -> None:
    said = ""
    for language, block in blocks(section(DEVELOPER), "sh", "diff"):
        if language == "diff":
            (developer / "change.diff").write_text(block)
        command = block if language == "sh" else "git apply -p0 change.diff"
        done = run(command, developer)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        said += done.stdout

    first, _, second = said.partition("uart: application 1.4.2\n")
    assert "uart: application 1.0.0\nuart: ticking\n" in first
    assert second.startswith("uart: first start after an update\nuart: ticking\n")
    assert "installed.version: 1.4.2" in second
    assert "good: 13 checks, nothing differs" in said
    assert "signature: good, by active" in said
    assert "wrote: run-1/labels.html" in said
    assert "holds device key: b2 " in said


def test_the_linker_line_in_the_readme_is_the_one_in_the_exported_notes() -> None:
    layout = load_layout(ROOT / "layouts" / f"{workshop.DEFAULT}.yaml")
    ((_, diff),) = blocks(section(DEVELOPER), "diff")
    (line,) = re.findall(r"^\+.*(ORIGIN = .*)$", diff, re.MULTILINE)

    assert line in FILES[NOTES_FILE](layout)


def test_the_readme_says_of_option_bytes_that_nobody_tried_them_on_the_real_program() -> None:
    line = section(DEVELOPER)
    for text in (
        line.partition("### The factory line")[2],
        section("What is protected, and what is not"),
    ):
        assert re.search(r"not tested.{0,3} (here )?with (that|the) program", text)


def test_the_customers_stock_tool_lines_carry_the_address_that_inspect_prints() -> None:
    layout = load_layout(ROOT / "layouts" / f"{workshop.DEFAULT}.yaml")
    text = section("For the customer: install an update")

    assert f"dfu-util -a 0 -s 0x{layout.staging.start:08X} -D " in text
    assert not re.search(r"-w \S+\.bin(?! 0x)", text), "a .bin without an address"


def test_the_flash_map_in_the_readme_is_the_default_layouts() -> None:
    layout = load_layout(ROOT / "layouts" / f"{workshop.DEFAULT}.yaml")
    text = section("How it works")

    for span in layout.areas.values():
        assert f"0x{span.start:08X}" in text


def test_every_layout_is_in_the_guide_by_its_name_and_no_other() -> None:
    guide = section("What is protected, and what is not").partition("Which layout, then?")[2]
    named = set(re.findall(r"`(\w*h7\w+)`", guide))

    assert named == {path.stem for path in (ROOT / "layouts").glob("*.yaml")}


def test_the_exit_codes_in_the_readme_and_in_the_help_are_the_errors_own() -> None:
    from packager.cli import EXIT_CODES

    own = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.PackagerError)
    }
    for code in own | {0, 2, 130}:
        assert re.search(rf"\| {code} \|", section("Files, exit codes and JSON")), code
        assert re.search(rf"(^|\s){code}  \w", EXIT_CODES), code


@pytest.mark.parametrize("heading", ["See it work", "Run the tests"])
def test_the_two_commands_are_one_line_each_and_need_pip_only(heading: str) -> None:
    (command,) = shell_blocks(section(heading))

    assert "\n" not in command.strip()
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")


def test_every_folder_named_in_the_tree_is_there_and_nothing_else_is_at_the_top() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    top = {path.split("/")[0] for path in tracked if not path.startswith(".")}

    assert top == {
        "LICENSE",
        "README.md",
        "layouts",
        "mcu_loader",
        "packager",
        "pyproject.toml",
        "tests",
    }
