"""The rooms of the package: who may import what, and which library lives where."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "packager"
SOURCES = sorted(PACKAGE.rglob("*.py"))

HOMES = {
    "click": ("cli/",),
    "rich": ("cli/",),
    "usb": ("dfu/usb.py", "dfu/usb_errors.py", "sim/usb_backend.py"),
    "libusb_package": ("dfu/usb.py",),
    "unicorn": ("sim/cpu",),
    "ruamel": ("layout_file.py",),
    "construct": ("format.py", "records.py", "format_c.py", "dfuse_file.py"),
    "intelhex": ("hex_file.py",),
    "elftools": ("image.py",),
    "cryptography": ("keys.py", "crypto.py"),
}
"""One third-party library, one room."""


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_each_library_is_used_in_its_own_room_only(path: Path) -> None:
    for name in imports_of(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or room(path).startswith(homes), f"{room(path)} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_nothing_but_the_entry_point_imports_the_command_line(path: Path) -> None:
    if room(path).startswith("cli/") or room(path) == "__main__.py":
        return
    assert not any(name.startswith("packager.cli") for name in imports_of(path))


@pytest.mark.parametrize("path", [p for p in SOURCES if room(p).startswith("sim/")], ids=room)
def test_the_virtual_board_shares_no_logic_with_what_it_judges(path: Path) -> None:
    rooms = "format records update crypto keys dfu."
    judged = tuple(f"packager.{part}" for part in rooms.split())
    for name in imports_of(path):
        numbers = name.startswith("packager.dfu.constants")
        assert numbers or not name.startswith(judged), name


@pytest.mark.parametrize("path", [p for p in SOURCES if room(p).startswith("dfu/")], ids=room)
def test_the_client_knows_neither_the_virtual_board_nor_any_key(path: Path) -> None:
    rooms = "errors chip reasons layout format records dfu"
    known = tuple(f"packager.{part}" for part in rooms.split())
    for name in imports_of(path):
        assert not name.startswith("packager.") or name.startswith(known), name


@pytest.mark.parametrize("path", [p for p in SOURCES if room(p).startswith("kit/")], ids=room)
def test_a_kit_is_made_of_texts_and_files_only(path: Path) -> None:
    """Its figures are its own, so that the virtual board can contradict them."""
    rooms = (
        "errors chip reasons layout format update update_file hex_file dfuse_file inspection files"
        " kit dfu.advice"
    )
    allowed = tuple(f"packager.{part}" for part in rooms.split())
    for name in imports_of(path):
        assert not name.startswith("packager.") or name.startswith(allowed), name


@pytest.mark.parametrize("path", SOURCES, ids=room)
def test_library_code_neither_prints_nor_exits(path: Path) -> None:
    if room(path).startswith("cli/"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "input"), f"line {node.lineno}"
