"""Real CMake, with nothing on the path but what a project's own build may use: no Python at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import workshop

GENERATORS = {"Ninja": "ninja", "Unix Makefiles": "make"}
"""Generators and the program each needs."""


def bare_path(folder: Path, *programs: str) -> str:
    """Return a search path with these programs and the GNU Arm tools; skips if one is missing."""
    workshop.needs_programs(*programs, "cmake")
    folder.mkdir(exist_ok=True)
    arm = [p.name for d in os.get_exec_path() for p in Path(d).glob("arm-none-eabi-*")]
    for name in {*programs, "cmake", *arm}:
        found = shutil.which(name)
        assert found is not None
        if not (folder / name).exists():
            (folder / name).symlink_to(Path(found).resolve())
    assert not any(shutil.which(name, path=str(folder)) for name in ("python", "python3"))
    return str(folder)


def run(
    path: str, *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run cmake with this search path."""
    return subprocess.run(
        ["cmake", *(str(argument) for argument in arguments)],
        env={"PATH": path, "HOME": os.environ.get("HOME", "/")},
        executable=shutil.which("cmake", path=path),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def build(path: str, source: Path, out: Path, *options: str) -> Path:
    """Configure and build ``source`` in ``out``; return that folder."""
    for arguments in (("-S", source, "-B", out, *options), ("--build", out)):
        done = run(path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    return out
