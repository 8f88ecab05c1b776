"""Writes a kit: a folder or a ZIP, whole or not at all, never over something else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

from packager.errors import PackagerError
from packager.files import (
    MAX_FILE_SIZE,
    PUBLIC_MODE,
    create_exclusive,
    replaceable_folder,
    unwritable,
    write_atomic,
)
from packager.kit.contents import HOWTO, SUMS, KitFile

EXECUTABLE_MODE = 0o755
FIRST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The oldest a ZIP can express: the same kit is the same bytes, whenever it is made."""
_UNIX = 3


def write_kit(output: Path, files: dict[str, KitFile], name: str) -> list[Path]:
    """Write a kit as ``output.zip`` with one folder ``name`` inside, or as the folder ``output``.

    A folder that is there must be empty or hold an older kit and nothing else, a ZIP must be one;
    it is replaced.

    Raises:
        PackagerError: it holds something else, or cannot be written; then it is untouched.
    """
    if output.suffix.lower() == ".zip":
        _refuse_foreign_zip(output)
        write_atomic(output, zip_of(files, name))
        return [output]
    target = replaceable_folder(output)
    old = _kit_in(target)
    try:
        _replace_folder(target, files, old)
    except OSError as error:
        raise unwritable(output, error) from error
    return [output / name for name in files]


def zip_of(files: dict[str, KitFile], folder: str) -> bytes:
    """Return a ZIP of one folder; scripts keep their executable bit, everything else is fixed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, file in files.items():
            entry = zipfile.ZipInfo(f"{folder}/{name}", FIRST_ZIP_DATE)
            entry.create_system = _UNIX
            mode = EXECUTABLE_MODE if file.executable else PUBLIC_MODE
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.data, compresslevel=9)
    return buffer.getvalue()


def _kit_in(folder: Path) -> list[str]:
    """Name the files of the kit in a folder; none if it is empty or not there."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise PackagerError(
            str(folder), "is a file", "expected a folder or a name ending in .zip", "choose another"
        )
    found = sorted(entry.name for entry in folder.iterdir())
    if not found:
        return []

    def read(name: str) -> bytes:
        path = folder / name
        return path.read_bytes() if path.is_file() and not path.is_symlink() else b""

    try:
        _refuse_foreign(found, read)
    except _ForeignError as error:
        raise PackagerError(
            str(folder),
            str(error),
            "expected a new or empty folder, or a kit as it was made",
            "choose another folder, or empty this one yourself",
        ) from error
    return found


def _refuse_foreign_zip(path: Path) -> None:
    """Return only if nothing is there, or a ZIP of a kit as it was made."""
    if not path.is_file():  # what is no file at all is never replaced
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
            if any(entry.file_size > MAX_FILE_SIZE for entry in entries.values()):
                raise _ForeignError("holds larger files than a kit")
            _refuse_foreign(entries, lambda name: archive.read(entries[name]))
    except _UNREADABLE_ZIP as error:
        raise PackagerError(
            str(path),
            str(error),
            "expected a new name, or the ZIP of a kit as it was made",
            "choose another name, or remove this one yourself",
        ) from error


class _ForeignError(Exception):
    """What is there is no kit, or no longer one."""


_UNREADABLE_ZIP = (
    *(_ForeignError, zipfile.BadZipFile, zlib.error, EOFError),
    *(NotImplementedError, RuntimeError),  # a compression or encryption unknown here
)


def _refuse_foreign(names: Collection[str], read: Callable[[str], bytes]) -> None:
    """Return only if files of these names are a kit as it was made; others are never read."""
    sums = _sums(read(SUMS)) if SUMS in names else {}
    if HOWTO not in sums or {*sums, SUMS} != set(names):
        raise _ForeignError("holds something else than a kit")
    for name, expected in sums.items():
        if hashlib.sha256(read(name)).hexdigest() != expected:
            raise _ForeignError(f"holds a kit whose '{name}' was changed")


def _sums(data: bytes) -> dict[str, str]:
    with contextlib.suppress(ValueError):
        lines = data.decode("ascii").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    return {}


def _replace_folder(target: Path, files: dict[str, KitFile], old: list[str]) -> None:
    mark = os.urandom(4).hex()
    fresh, aside = (target.with_name(f".{target.name}.{what}.{mark}") for what in ("new", "old"))
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh.mkdir()
    try:
        for name, file in files.items():
            mode = EXECUTABLE_MODE if file.executable else PUBLIC_MODE
            create_exclusive(fresh / name, file.data, mode)
        _swap(target, fresh, aside)
    finally:
        _remove(fresh, files)
    _remove(aside, old)


def _swap(target: Path, fresh: Path, aside: Path) -> None:
    """Put a folder in the place of another one, or leave that where it was."""
    if not target.exists():
        fresh.rename(target)
        return
    target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        aside.rename(target)
        raise


def _remove(folder: Path, names: dict[str, KitFile] | list[str]) -> None:
    """Remove a folder with these files in it, if it is there; nothing else ever."""
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
