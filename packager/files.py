"""Writes files whole or not at all, and reads them with a bound."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from packager.errors import FormatError

SECRET_MODE = 0o600
"""Mode of every file that holds a private key."""


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` under a temporary name beside ``path``, then rename it.

    Raises:
        OSError: the folder is missing or not writable; nothing is left behind then.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes.

    Raises:
        FormatError: it is empty or larger.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if not data:
        raise FormatError(str(path), "the file is empty", "", "make or fetch it again")
    if len(data) > limit:
        raise FormatError(
            str(path), f"more than {limit} bytes", "nothing of ours is larger", "check the path"
        )
    return data
