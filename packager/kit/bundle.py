"""Writes a kit: a folder or a ZIP, whole or not at all, never over something else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
from pathlib import Path

from packager.errors import PackagerError
from packager.files import PUBLIC_MODE, create_exclusive, write_atomic
from packager.kit.contents import HOWTO, SUMS, KitFile

EXECUTABLE_MODE = 0o755
FIRST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The oldest a ZIP can express: the same kit is the same bytes, whenever it is made."""
_UNIX = 3


def write_kit(output: Path, files: dict[str, KitFile], name: str) -> list[Path]:
    """Write a kit as ``output.zip`` with one folder ``name`` inside, or as the folder ``output``.

    A folder that is there must be empty or hold an older kit and nothing else; it is replaced.

    Raises:
        PackagerError: it holds something else, or cannot be written; then it is untouched.
    """
    if output.suffix.lower() == ".zip":
        write_atomic(output, zip_of(files, name))
        return [output]
    target = Path(os.path.realpath(output))
    if target == Path(os.path.realpath(".")):
        raise PackagerError(
            str(output), "is the folder you are in", "expected another", "name one inside it"
        )
    old = _kit_in(target)
    try:
        _replace_folder(target, files, old)
    except OSError as error:
        found = f"cannot be written ({error.strerror})"
        raise PackagerError(str(output), found, "", "check folder and permissions") from error
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
    sums = _read_sums(folder)
    if sums is None or HOWTO not in sums or {*sums, SUMS} != set(found):
        raise _foreign(folder, "holds something else than a kit")
    for name, expected in sums.items():
        path = folder / name
        if path.is_symlink() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise _foreign(folder, f"holds a kit whose '{name}' was changed")
    return found


def _read_sums(folder: Path) -> dict[str, str] | None:
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError):
        lines = (folder / SUMS).read_text(encoding="ascii").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    return None


def _foreign(folder: Path, found: str) -> PackagerError:
    return PackagerError(
        str(folder),
        found,
        "expected a new or empty folder, or a kit as it was made",
        "choose another folder, or empty this one yourself",
    )


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
