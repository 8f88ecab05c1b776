"""Reading with a bound and writing all or nothing.

Every file that is kept is written here; other rooms write into temporary folders of theirs only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from packager.chip import KIB
from packager.errors import FormatError, PackagerError

MAX_FILE_SIZE = 4096 * KIB
"""Bytes: 2 MiB of flash as Intel HEX is 5.6 MiB, but no area of ours comes near 1.4 MiB."""

PUBLIC_MODE = 0o644
SECRET_MODE = 0o600
"""Modes of written files; the first is subject to the umask, the second is exact."""


PEM_BEGIN = b"-----BEGIN"
"""How every key file begins, others' too (RFC 7468)."""


def read_file(path: Path, limit: int = MAX_FILE_SIZE) -> bytes:
    """Return the content of a file of 1 to ``limit`` bytes; never reads more than that.

    Raises:
        FormatError: empty, larger, or not readable.

    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > limit:
        found = f"larger than {limit // KIB} KiB ({limit} bytes)"
        raise FormatError(str(path), found, "expected a smaller file", "check the path")
    if not data:
        raise FormatError(str(path), "empty file", "", "make or copy it again")
    return data


def write_atomic(path: Path, data: bytes, mode: int = PUBLIC_MODE) -> None:
    """Write a file under a temporary name beside it and rename: whole or not at all.

    A secret file (``SECRET_MODE``) is never readable by others, not even half-written.

    Raises:
        PackagerError: the file cannot be written, or see :func:`refuse_to_replace`; what was there
            is untouched.

    """
    refuse_to_replace(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        try:
            create_exclusive(temporary, data, mode)
            temporary.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                temporary.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def text_bytes(text: str) -> bytes:
    """Return text as a file holds it (UTF-8); a byte of a file name that is no text is escaped."""
    return text.encode(errors="backslashreplace")


def refuse_to_replace(path: Path) -> None:
    """Return only if nothing of this name is there, or a regular file that is no key.

    Raises:
        PackagerError: an empty name, a folder, link or device, a PEM file (RFC 7468), or one that
            cannot be looked into.

    """
    if not path.name:
        raise PackagerError(str(path), "names no file", "expected a file name", "name one")
    do = "name another file"
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise PackagerError(str(path), "is no regular file", "so it is not replaced", do)
        with path.open("rb") as file:
            if file.read(len(PEM_BEGIN)) == PEM_BEGIN:
                raise PackagerError(str(path), "holds a key", "keys are never replaced", do)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise unwritable(path, error) from error


def create_folder(directory: Path, contents: Mapping[str, bytes], secret: frozenset[str]) -> None:
    """Make a new folder with these files, by relative name: whole or not at all.

    Files named in ``secret`` are never readable by others. An empty folder may be there.

    Raises:
        PackagerError: something is there, or it cannot be written; then nothing is left of it.
    """
    target = replaceable_folder(directory)
    fresh = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise PackagerError(
                str(directory),
                "exists already",
                "expected a new or empty folder",
                "name another, or remove this one yourself",
            )
        try:
            for name, data in contents.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                mode = SECRET_MODE if name in secret else PUBLIC_MODE
                create_exclusive(fresh / name, data, mode)
            if target.exists():
                target.rmdir()  # Windows does not rename onto a folder
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise unwritable(directory, error) from error


def replaceable_folder(directory: Path) -> Path:
    """Return the real path of a folder that another may take the place of.

    Raises:
        PackagerError: it is the folder one is in, which would be gone under one's feet.
    """
    target = Path(os.path.realpath(directory))
    if target == Path(os.path.realpath(".")):
        found, do = "is the folder you are in", "name one inside it"
        raise PackagerError(str(directory), found, "expected another", do)
    return target


def create_exclusive(path: Path, data: bytes, mode: int, *, durable: bool = False) -> None:
    """Create a file that must not exist yet; a ``durable`` one is on the disk on return.

    Raises:
        OSError: it exists, or cannot be written; then nothing of it is left.

    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def unwritable(path: Path, error: OSError) -> PackagerError:
    """Return the error for a file or folder that the operating system does not let us write."""
    found = f"cannot be written ({error.strerror or error})"
    return PackagerError(str(path), found, "", "check folder and permissions")


def unreadable(path: Path, error: OSError) -> FormatError:
    """Return the error for a file that the operating system does not let us read."""
    return FormatError(
        str(path), f"cannot be read ({error.strerror or error})", "", "check the path"
    )
