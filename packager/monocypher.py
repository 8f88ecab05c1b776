"""Monocypher for the loader: fetched once as a pinned source package, checked, kept outside git.

The source package of `pymonocypher` carries Monocypher 4.0.3 as two C files. Its hash, and those
of both files, are below: what is not exactly this is not compiled.
"""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from packager import files, resources
from packager.chip import KIB
from packager.errors import BuildError, FormatError

PACKAGE = "pymonocypher"
PACKAGE_VERSION = "4.0.3.4"
ARCHIVE = f"{PACKAGE}-{PACKAGE_VERSION}.tar.gz"
ARCHIVE_SHA256 = "5e56e3d3eb770a53e0b9f6274146663c11a11f3d0de5cd48e3be0428d1b07a4a"
SOURCES = {
    "monocypher.c": "57eb914fc88136119bd41655cccb8c250048bf54d470540625186f8ab16f64be",
    "monocypher.h": "c494da712122da7ff679fdcf318a5317e84972b6c950fe9d896212947797facd",
}
"""SHA-256 of the files that are compiled."""

FLAGS = ("-DBLAKE2_NO_UNROLLING",)
"""3 KiB of BLAKE2b instead of 16."""

_MAX_SIZE = 1024 * KIB


def find_monocypher(directory: Path | None = None) -> Path:
    """Return a folder with the checked ``monocypher.c`` and ``monocypher.h``.

    Takes ``directory`` if given (nothing is fetched then), else what was fetched before, else
    fetches the source package with pip.

    Raises:
        BuildError: not there, cannot be fetched, or not exactly the pinned files.
    """
    if directory is not None:
        _check(directory)
        return directory
    folder = resources.build_folder() / f"monocypher-{PACKAGE_VERSION}"
    if not all((folder / name).is_file() for name in SOURCES):
        _fetch(folder)
    _check(folder)
    return folder


def licence_text(folder: Path) -> str:
    """Return the licence of Monocypher: the comment at the head of ``monocypher.c``."""
    lines = (folder / "monocypher.c").read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("//"), lines)
    return "".join(f"{line[2:].removeprefix(' ')}\n" for line in comment)


def _check(folder: Path) -> None:
    for name, expected in SOURCES.items():
        path = folder / name
        try:
            found = hashlib.sha256(files.read_file(path, _MAX_SIZE)).hexdigest()
        except FormatError as error:
            raise BuildError(
                str(path), error.found, "Monocypher 4.0.3 is needed", _how_to_get_it()
            ) from error
        if found != expected:
            raise BuildError(
                str(path),
                f"SHA-256 {found}",
                f"expected {expected}",
                f"remove it; {_how_to_get_it()}",
            )


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="splitflash-") as name:
        work = Path(name)
        requirements = work / "requirements.txt"
        requirements.write_text(f"{PACKAGE}=={PACKAGE_VERSION} --hash=sha256:{ARCHIVE_SHA256}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--no-binary", PACKAGE, "--dest", str(work), "--requirement", str(requirements)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archive = work / ARCHIVE
        if done.returncode or not archive.is_file():
            said = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise BuildError(
                f"{PACKAGE} {PACKAGE_VERSION}",
                f"pip cannot fetch it ({said})",
                "",
                _how_to_get_it(),
            )
        contents = _unpack(archive)
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, data in contents.items():
            files.write_atomic(folder / file_name, data)


def _unpack(archive: Path) -> dict[str, bytes]:
    data = archive.read_bytes()
    if hashlib.sha256(data).hexdigest() != ARCHIVE_SHA256:
        raise BuildError(archive.name, "wrong SHA-256", f"expected {ARCHIVE_SHA256}", "try again")
    contents = {}
    with tarfile.open(archive) as package:
        for name in SOURCES:
            member = package.extractfile(f"{PACKAGE}-{PACKAGE_VERSION}/{name}")
            if member is None:
                raise BuildError(archive.name, f"holds no {name}", "", "report this")
            contents[name] = member.read()
    return contents


def _how_to_get_it() -> str:
    return (
        f"with a connection 'pip download --no-deps --no-binary {PACKAGE} "
        f"{PACKAGE}=={PACKAGE_VERSION}', unpack it and name the folder with --monocypher"
    )
