"""The example project, changed for a layout as README and the exported CUBEIDE.md say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import test_readme

from packager.export import NOTES_FILE, export_layout
from packager.layout import Layout
from packager.resources import loader_sources

STOCK = loader_sources() / "examples" / "cube_project"
SCRIPT = "STM32H743ZITX_FLASH.ld"
SYSTEM = Path("Core") / "Src" / "system_stm32h7xx.c"
_NUMBERS = re.compile(r"ORIGIN = 0x[0-9A-F]{8}, LENGTH = [0-9]+K?$", re.MULTILINE)


def stock(folder: Path) -> Path:
    """Return a copy of the project as it is before it knows of splitflash."""
    return Path(shutil.copytree(STOCK, folder / "app"))


def integrated(folder: Path, layout: Layout) -> Path:
    """Return a copy with README's change, and the numbers of this layout's notes."""
    app = stock(folder)
    export_layout(layout, app / "splitflash")
    ((_, change),) = test_readme.blocks(test_readme.section(test_readme.DEVELOPER), "diff")
    (line,) = re.findall(r"^[+] .*ORIGIN.*$", change, re.MULTILINE)
    change = change.replace(line, _NUMBERS.sub(numbers(app), line))
    done = subprocess.run(
        ["git", "apply", "-p0", "-"], cwd=folder, input=change, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return app


def numbers(app: Path) -> str:
    """Return what the notes say for the linker script."""
    (found,) = _NUMBERS.findall((app / "splitflash" / NOTES_FILE).read_text())
    return str(found)


def writes_vtor(app: Path, offset: str) -> None:
    """Let ``system_stm32h7xx.c`` set the vector table, with this offset."""
    text = (app / SYSTEM).read_text()
    text = text.replace("// #define USER_VECT_TAB_ADDRESS", "#define USER_VECT_TAB_ADDRESS")
    text = text.replace("VECT_TAB_OFFSET 0x00000000u", f"VECT_TAB_OFFSET {offset}u")
    (app / SYSTEM).write_text(text)
