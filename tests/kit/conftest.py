"""A kit as a customer gets it, and the programs that the tests of it need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path

import material
import pytest
from browser import missing, program
from bus.conftest import bus, dfu_util, product

from packager.kit.make import MadeKit, make_kit
from packager.layout import Layout
from packager.resources import build_folder
from packager.update import build_update

from .replies import fake_for_windows

__all__ = ["bus", "dfu_util", "product", "program"]

VERSION = 0x0104_0002


def update_for(layout: Layout, size: int = 20_000) -> bytes:
    """Return an update that needs no loader."""
    own = material.key_set()
    image = material.image(size, layout.app.start)
    return build_update(image, layout, own.signing[0], own.recipients[:1], VERSION, 3)


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Layout], MadeKit]:
    """Make the kit of a layout, in a folder of its own with a space in its name."""

    def make(layout: Layout) -> MadeKit:
        folder = tmp_path_factory.mktemp("kit")
        update = folder / "update.bin"
        update.write_bytes(update_for(layout))
        return make_kit(update, folder / "the kit", layout.path)

    return make


@pytest.fixture(scope="session")
def made(make: Callable[[Layout], MadeKit]) -> MadeKit:
    """The kit of the default layout."""
    return make(material.layout())


@pytest.fixture(scope="session")
def mirror_made(make: Callable[[Layout], MadeKit]) -> MadeKit:
    """The kit of the layout that stages in bank 2."""
    return make(material.mirror_layout())


@pytest.fixture(scope="session")
def folder(made: MadeKit) -> Path:
    """The folder that a customer unpacked."""
    return made.paths[0].parent


class Wine:
    """A Windows that runs batch files, without a display."""

    def __init__(self, binary: str, prefix: Path) -> None:
        self.binary = binary
        self.prefix = prefix
        self.c_drive = prefix / "drive_c"

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a Windows program."""
        own = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        quiet = {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml,winemenubuilder.exe=d"}
        return {**own, **quiet, "WINEPREFIX": str(self.prefix), "HOME": str(self.prefix), **extra}

    def run(self, batch: Path, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a batch file as a double-click does; ``pause`` finds no keyboard and goes on."""
        return subprocess.run(
            [self.binary, "cmd", "/c", f"Z:{batch}".replace("/", "\\")],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="cp437",
            env=self.environment(**extra),
            cwd=self.prefix,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="session")
def wine() -> Iterator[Wine]:
    """Wine with a prefix that is made once in a checkout, whatever number of workers ask for it."""
    binary = shutil.which("wine64") or shutil.which("wine", path="/usr/lib/wine:/usr/bin")
    if not binary and Path("/usr/lib/wine/wine64").exists():
        binary = "/usr/lib/wine/wine64"
    if not binary:
        missing("wine64 is not installed")
    prefix = build_folder() / "wine"
    prefix.mkdir(parents=True, exist_ok=True)
    found = Wine(binary, prefix)
    server = str(Path(binary).resolve().parent / "wineserver")
    with (prefix.parent / "wine.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not (prefix / "ready").exists():
            command = [binary, "wineboot", "--init"]
            subprocess.run(
                command, env=found.environment(), capture_output=True, timeout=300, check=True
            )
            subprocess.run([server, "-w"], env=found.environment(), timeout=300, check=True)
            (prefix / "ready").touch()
    yield found
    subprocess.run([server, "-w"], env=found.environment(), timeout=300, check=False)


@pytest.fixture(scope="session")
def windows_programmer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fake STM32_Programmer_CLI.exe."""
    return fake_for_windows(tmp_path_factory.mktemp("windows programmer"))
