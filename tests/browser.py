"""A real browser, and the programs that tests look for."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


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
