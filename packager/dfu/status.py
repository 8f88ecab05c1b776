"""Reads over USB what a device holds: loader, staged update, installed app, last refusal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from packager.chip import KIB, Span
from packager.dfu.app_area import AppArea, look_at_app
from packager.dfu.pipe import Progress, silent
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import RequestRefusedError
from packager.dfu.rom import RomVersion
from packager.dfu.target import read_info, target_of
from packager.errors import FormatError, ProtectedError
from packager.format import (
    CARRY_SIZE,
    HEADER_SIZE,
    RECORD_SIZE,
    UpdateHeader,
    field_text,
    parse_header,
    version_text,
)
from packager.layout import Layout
from packager.reasons import EXPLANATIONS, Reason
from packager.records import AppState, InfoBlock, MarkRecord, RecordType, parse_record

OPTION_WORD = 0x5200_201C
"""FLASH_OPTSR_CUR, which a loader of ours shows; the ROM shows it in a memory of its own."""
PAGE = 4 * KIB
"""Bytes of marks read at once; a page that is blank all over ends the used records."""


@dataclass(frozen=True)
class Marks:
    """The newest record and how much of the marks sector is used."""

    newest: MarkRecord | None
    used: int
    slots: int

    @property
    def free(self) -> int:
        """Record slots never written."""
        return self.slots - self.used


class StagingState(Enum):
    """What staging begins with."""

    EMPTY = "empty"
    UPDATE = "update"
    OTHER = "something that is no update"
    UNREADABLE = "unreadable (torn by a power cut); the next drop erases it"


@dataclass(frozen=True)
class Refusal:
    """The newest update the loader refused, and why."""

    reason: Reason
    version: int
    key_id: bytes
    run: int

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return EXPLANATIONS[self.reason].meaning

    @property
    def do(self) -> str:
        """What a person can do."""
        return EXPLANATIONS[self.reason].do


@dataclass(frozen=True)
class DeviceStatus:
    """Everything a device tells about itself over DfuSe."""

    where: str
    rom: RomVersion
    protected: bool
    """The ROM refuses to read anything; a loader of ours answers at any level."""
    rdp: int | None = None
    """Read-out protection level; 2 only where a loader of ours told."""
    via_loader: bool = False
    """The loader's own DFU answers, not the ROM."""
    loader: InfoBlock | None = None
    staging: StagingState | None = None
    staged: UpdateHeader | None = None
    marks: Marks | None = None
    app: AppArea | None = None
    """Whether the application is the installed one, if that was asked."""

    @property
    def installed(self) -> MarkRecord | None:
        """The record of the installed app, if the newest state is "installed"."""
        return self._newest_in(AppState.INSTALLED)

    @property
    def installing(self) -> MarkRecord | None:
        """The record of an installation that was begun and not finished."""
        return self._newest_in(AppState.INSTALLING)

    @property
    def refused(self) -> Refusal | None:
        """The refusal, if the newest record is one."""
        newest = self.marks.newest if self.marks else None
        if newest is None or newest.type is not RecordType.REFUSED:
            return None
        return Refusal(
            newest.reason, newest.refused_version, newest.refused_key_id, newest.refused_run
        )

    def _newest_in(self, state: AppState) -> MarkRecord | None:
        newest = self.marks.newest if self.marks else None
        return newest if newest and newest.state is state else None


def identify(device: DfuSe) -> DeviceStatus:
    """Read who a device is: ROM, protection, loader; nothing of what it holds."""
    rom = device.read_rom_id()
    try:
        loader = read_info(device)
    except ProtectedError:
        return DeviceStatus(device.where, rom, protected=True, rdp=1)
    rdp = _read_rdp(device) if device.is_loader else 0
    return DeviceStatus(
        device.where, rom, protected=False, rdp=rdp, via_loader=device.is_loader, loader=loader
    )


def read_status(device: DfuSe, layout: Layout | None = None) -> DeviceStatus:
    """Read everything; a protected device yields a status that says so and nothing else.

    Raises:
        RefusedError: the layout contradicts the loader.
        DeviceError: the device stopped answering, or its info block makes no sense.
    """
    who = identify(device)
    if who.protected or (who.loader is None and layout is None):
        return who
    target = target_of(who.loader, layout, device.where)
    staging, staged = _read_staging(device, target.staging)
    marks = read_marks(device, target.marks, target.app)
    return replace(who, staging=staging, staged=staged, marks=marks)


def read_app(
    device: DfuSe, status: DeviceStatus, layout: Layout | None = None, progress: Progress = silent
) -> DeviceStatus:
    """Return the status with what is in the app area; over the ROM that reads the whole image.

    Raises:
        DeviceError: the device stopped answering.
    """
    if status.marks is None:
        return status
    target = target_of(status.loader, layout, device.where)
    return replace(
        status,
        app=look_at_app(device, target.app, status.marks.newest, status.loader, progress),
    )


def read_marks(device: DfuSe, marks: Span, app: Span) -> Marks:
    """Find the newest valid record; one in the carry area counts unless the marks hold a newer."""
    newest, used = None, 0
    for index, slot in enumerate(_slots(device, marks)):
        if slot is None or slot.count(0xFF) != len(slot):
            used = index + 1
            newest = _record(slot) or newest
    if not device.is_loader:  # which does not show the app area
        carry = Span(app.end - CARRY_SIZE, CARRY_SIZE)
        carried = [record for slot in _slots(device, carry) if (record := _record(slot))]
        known = [*carried, newest] if newest else carried
        newest = max(known, key=lambda record: record.sequence, default=None)
    return Marks(newest, used, marks.size // RECORD_SIZE)


def status_as_dict(status: DeviceStatus) -> dict[str, Any]:
    """Return the status as plain values: hex for bytes, version texts, None for "not known"."""
    loader, marks, refused = status.loader, status.marks, status.refused
    rom = status.rom
    return {
        "device": status.where,
        "bootloader": "splitflash loader" if status.via_loader else "ROM",
        "rom": None
        if status.via_loader
        else {"id": None if rom.id is None else f"0x{rom.id:02x}", "name": rom.name},
        "read_protected": status.protected or bool(status.rdp),
        "rdp": status.rdp,
        "loader": loader
        and {
            "version": version_text(loader.loader_version),
            "development": loader.is_dev,
            "product_id": field_text(loader.product_id),
            "product_name": field_text(loader.product_name),
            "chip": f"0x{loader.chip:08x}",
            "layout_id": loader.layout_id.hex(),
            "boot_check": loader.boot_check.name.lower(),
            "recovery": loader.recovery.name.lower(),
            "verify_keys": [key_id.hex() for key_id in loader.verify_key_ids],
            "device_keys": [key_id.hex() for key_id in loader.device_key_ids],
        },
        "staging": status.staging and status.staging.name.lower(),
        "staged": status.staged and _update_as_dict(status.staged),
        "installed": _state_as_dict(status.installed),
        "app": status.app and _app_as_dict(status.app),
        "installing": _state_as_dict(status.installing),
        "refused": refused
        and {
            "reason": refused.reason.name.lower(),
            "meaning": refused.meaning,
            "do": refused.do,
            "version": version_text(refused.version),
            "signing_key": refused.key_id.hex(),
            "times": refused.run,
        },
        "records": marks and {"used": marks.used, "free": marks.free},
    }


def _read_rdp(device: DfuSe) -> int | None:
    try:
        word = device.upload(OPTION_WORD, 4)
    except RequestRefusedError:
        return None
    return {0xAA: 0, 0xCC: 2}.get(word[1], 1)


def _update_as_dict(header: UpdateHeader) -> dict[str, Any]:
    return {
        "product_id": field_text(header.product_id),
        "version": version_text(header.version),
        "security_counter": header.security_counter,
        "image_size": header.image_size,
        "signing_key": header.signing_key_id.hex(),
        "recipients": [recipient.key_id.hex() for recipient in header.recipients],
    }


def _app_as_dict(app: AppArea) -> dict[str, Any]:
    return {"found": app.found.value, "meaning": app.meaning, "do": app.do or None}


def _state_as_dict(record: MarkRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "version": version_text(record.version),
        "security_counter": record.security_counter,
        "floor_counter": record.floor_counter,
        "floor_version": version_text(record.floor_version),
        "image_size": record.image_size,
        "image_digest": record.image_digest.hex(),
        "update_id": record.update_id.hex(),
    }


def _read_staging(device: DfuSe, staging: Span) -> tuple[StagingState, UpdateHeader | None]:
    try:
        data = device.upload(staging.start, HEADER_SIZE)
    except RequestRefusedError:
        return StagingState.UNREADABLE, None
    if data.count(0xFF) == len(data):
        return StagingState.EMPTY, None
    try:
        return StagingState.UPDATE, parse_header(data)
    except FormatError:
        return StagingState.OTHER, None


def _slots(device: DfuSe, span: Span) -> Iterator[bytes | None]:
    """Yield record slots up to the first page that is blank; None is an unreadable slot."""
    for at in range(span.start, span.end, PAGE):
        size = min(PAGE, span.end - at)
        try:
            page = device.upload(at, size)
        except RequestRefusedError:
            for slot in range(at, at + size, RECORD_SIZE):
                yield _slot(device, slot)
            continue
        if page.count(0xFF) == len(page):
            return
        for offset in range(0, size, RECORD_SIZE):
            yield page[offset : offset + RECORD_SIZE]


def _slot(device: DfuSe, address: int) -> bytes | None:
    try:
        return device.upload(address, RECORD_SIZE)
    except RequestRefusedError:
        return None


def _record(slot: bytes | None) -> MarkRecord | None:
    if slot is None:
        return None
    try:
        return parse_record(slot)
    except FormatError:
        return None
