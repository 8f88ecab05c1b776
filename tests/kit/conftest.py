"""A kit as a customer gets it, and the programs that the tests of it need."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import NoReturn

import material
import pytest
from bus.conftest import bus, dfu_util, product

from packager.kit.make import MadeKit, make_kit
from packager.layout import Layout
from packager.resources import build_folder
from packager.update import build_update

from .replies import fake_for_windows

__all__ = ["bus", "dfu_util", "product"]

VERSION = 0x0104_0002


def missing(text: str) -> NoReturn:
    """Skip; where every tool must be there, fail instead of skipping."""
    if os.environ.get("SPLITFLASH_TEST_ALL_TOOLS"):
        pytest.fail(text)
    pytest.skip(text)


def program(*names: str) -> str:
    """Return the first of these programs that is there."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    missing(f"{names[0]} is not installed")


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


class Browser:
    """A real browser without a window, an empty profile each time, and no network."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self._runs = 0

    def run(self, page: Path, *arguments: str) -> str:
        """Open a page; return what the browser says, the console included."""
        return self._open(page, *arguments).stderr

    def run_script(self, page: Path, script: str, *arguments: str) -> str:
        """Return what a script makes of a page; on a copy that lets scripts run."""
        source = page.read_text(encoding="utf-8").replace("default-src 'none'; ", "")
        ask = f"<script>document.body.textContent = '<<' + ({script}) + '>>'</script>"
        copy = self.folder / "copy.html"
        copy.write_text(source.replace("</body>", f"{ask}</body>"), encoding="utf-8")
        shown = html.unescape(self._open(copy, "--dump-dom", *arguments).stdout)
        return shown.partition("<<")[2].partition(">>")[0]

    def _open(self, page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        self._runs += 1
        profile = self.folder / f"profile-{self._runs}"
        command = [
            self.binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
            f"--user-data-dir={profile}", *arguments, page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=120, check=False
        )
        shutil.rmtree(profile, ignore_errors=True)
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Chromium."""
    binary = program("chromium-headless-shell", "chromium", "google-chrome")
    return Browser(binary, tmp_path_factory.mktemp("browser"))
