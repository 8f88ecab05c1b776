"""Is the application in flash the one that the marks speak for? Reads all of it, over the ROM only.

A debugger or programmer can change the application behind the loader's back; a production loader
does not start such a one. The loader's own DFU never shows the app area.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from packager.chip import Span
from packager.dfu.pipe import Progress
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import RequestRefusedError
from packager.format import DIGEST_SIZE, BootCheck, version_text
from packager.records import AppState, InfoBlock, MarkRecord

READING = "read app"
"""Phase of the progress."""
_VECTORS_SIZE = 8
"""Bytes: initial stack pointer and reset handler."""
_STACK_ALIGNMENT = 8
"""Bytes; as the loader asks for it (reason ``IMAGE_VECTORS``)."""


class AppFound(Enum):
    """What lies in the app area."""

    AS_INSTALLED = "as_installed"
    CHANGED = "changed"
    NO_RECORD = "no_record"
    NOTHING = "nothing"
    IN_PIECES = "in_pieces"
    UNREADABLE = "unreadable"
    NOT_SHOWN = "not_shown"


@dataclass(frozen=True)
class AppArea:
    """What was found, in one sentence, and what a person can do (empty if nothing)."""

    found: AppFound
    meaning: str
    do: str = ""


def look_at_app(
    device: DfuSe,
    app: Span,
    newest: MarkRecord | None,
    loader: InfoBlock | None,
    progress: Progress,
) -> AppArea:
    """Compare the app area with the newest record; if that says installed, the whole image is read.

    Raises:
        DeviceError: the device stopped answering.
    """
    if device.is_loader:
        return AppArea(
            AppFound.NOT_SHOWN,
            "the loader's own DFU does not show the application; what counts is the record",
            "if it does not start, drop the update again",
        )
    state = newest.state if newest else AppState.NONE
    if state is AppState.INSTALLING:
        return AppArea(
            AppFound.IN_PIECES,
            "an installation has begun and not ended",
            "power the device on and leave it alone; if it does not go on, drop the update again",
        )
    try:
        if newest is None or state is AppState.NONE:
            return _unrecorded(device.upload(app.start, _VECTORS_SIZE), app, loader)
        same = _digest_of(device, app, newest.image_size, progress) == newest.image_digest
    except RequestRefusedError as error:
        found = f"the application cannot be read ({error.found})"
        return AppArea(AppFound.UNREADABLE, found, "drop the update again")
    version = version_text(newest.version)
    if same:
        return AppArea(AppFound.AS_INSTALLED, f"version {version}, byte for byte as installed")
    return AppArea(
        AppFound.CHANGED,
        f"the application in flash is not the one that was installed (record says {version}):"
        " a debugger or programmer changed it, or the flash decayed",
        "this loader starts it all the same; drop the update again to have it back"
        if _starts_anything(loader)
        else "drop the update again, or use a development loader",
    )


def _unrecorded(vectors: bytes, app: Span, loader: InfoBlock | None) -> AppArea:
    if not _are_plausible(vectors, app, loader):
        return AppArea(AppFound.NOTHING, "no application is there", "drop an update")
    return AppArea(
        AppFound.NO_RECORD,
        "an application is there, and no record speaks for it: a debugger or programmer wrote it",
        "this loader starts it all the same"
        if loader and loader.is_dev
        else "drop an update or write the factory image; a development loader would start it",
    )


def _starts_anything(loader: InfoBlock | None) -> bool:
    return loader is not None and (loader.is_dev or loader.boot_check is BootCheck.OFF)


def _are_plausible(vectors: bytes, app: Span, loader: InfoBlock | None) -> bool:
    """Tell whether they could be started: what a development loader asks before it does so."""
    stack, entry = (int.from_bytes(vectors[at : at + 4], "little") for at in (0, 4))
    in_ram = loader is None or any(ram.start < stack <= ram.start + ram.size for ram in loader.ram)
    behind = app.contains(entry & ~1, 2) and entry - app.start >= _VECTORS_SIZE
    return in_ram and stack % _STACK_ALIGNMENT == 0 and bool(entry & 1) and behind


def _digest_of(device: DfuSe, app: Span, size: int, progress: Progress) -> bytes | None:
    """Return the BLAKE2b-256 of the first bytes; None if no image can have that size."""
    if not 0 < size <= app.size:
        return None
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    done = 0
    for block in device.upload_blocks(app.start, size):
        digest.update(block)
        done += len(block)
        progress(READING, done, size)
    return digest.digest()
