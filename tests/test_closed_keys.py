"""Keys that are there and may not be read: said so, and never reported as missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bus.permission import as_a_mortal, closed
from elf_maker import Segment, make_elf
from material import DEFAULT_LAYOUT, image, key_folder
from test_cli import SPLITFLASH

from packager.errors import KeyFileError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
LINES = {
    "pack": "pack app.elf --layout {layout} --keys keys --version 1.4.2 --counter 3 -o u.hex",
    "loader build": "loader build --layout {layout} --keys keys -o out",
    "keygen": "keygen keys",
    "keygen --batch": "keygen keys --batch b2",
}


@pytest.mark.parametrize(
    ("command", "folder", "what"),
    [
        ("pack", "keys", "keys/signing: cannot be read"),
        ("pack", "keys/signing", "keys/signing: cannot be read"),
        ("pack", "keys/signing/active.pem", "keys/signing/active.pem: cannot be read"),
        ("pack", "keys/public", "keys/public: cannot be read"),
        ("loader build", "keys/device", "keys/device: cannot be read"),
        ("keygen", "keys", "keys/signing/active.pem: cannot be written"),
        ("keygen --batch", "keys/public", "keys/public: cannot be read"),
        ("keygen --batch", "keys/device", "keys/device/b2.pem: cannot be written"),
    ],
)
def test_a_key_that_may_not_be_read_is_not_a_missing_key(
    tmp_path: Path, command: str, folder: str, what: str
) -> None:
    shutil.copytree(key_folder(), tmp_path / "keys")
    (tmp_path / "app.elf").write_bytes(make_elf(Segment(0x0810_0000, image(30_000))))
    before = sorted(tmp_path.rglob("*"))

    with closed(tmp_path / folder):
        done = subprocess.run(
            [*as_a_mortal(), SPLITFLASH, *LINES[command].format(layout=DEFAULT_LAYOUT).split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.stderr.startswith(f"splitflash: {what} (Permission denied)")
    assert "keygen" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == KeyFileError.exit_code
    assert sorted(tmp_path.rglob("*")) == before
