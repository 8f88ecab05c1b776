from __future__ import annotations

import json

import pytest
from dfu import products
from dfu.products import APP, MARKS, STAGING
from dfu.scripted import Rom

from packager.dfu.status import DeviceStatus, StagingState, read_status, status_as_dict
from packager.format import CARRY_SIZE, RECORD_SIZE
from packager.layout import load_layout
from packager.reasons import Reason
from packager.records import AppState, RecordType
from packager.resources import layouts

CARRY = APP.end - CARRY_SIZE


def device(**script: object) -> Rom:
    rom = Rom(**script)  # type: ignore[arg-type]
    rom.put(products.INFO_ADDRESS, products.info_bytes())
    return rom


def read(rom: Rom) -> DeviceStatus:
    with rom.client() as client:
        status = read_status(client)
    assert (rom.erased, rom.written) == ([], [])
    return status


def put_records(rom: Rom, *records: bytes) -> Rom:
    for slot, data in enumerate(records):
        rom.put(MARKS.start + slot * RECORD_SIZE, data)
    return rom


def test_a_fresh_device_has_a_loader_and_nothing_else() -> None:
    status = read(device())
    assert status.loader == products.info()
    assert status.staging is StagingState.EMPTY
    assert status.marks
    assert (status.marks.newest, status.marks.used, status.marks.free) == (None, 0, 1024)


def test_a_staged_update_is_named() -> None:
    rom = device()
    rom.put(STAGING.start, products.update())
    assert read(rom).staged == products.header()


@pytest.mark.parametrize(
    ("content", "unreadable", "state"),
    [(b"junk" * 200, False, StagingState.OTHER), (b"", True, StagingState.UNREADABLE)],
)
def test_anything_else_in_staging_is_told_apart(
    content: bytes, unreadable: bool, state: StagingState
) -> None:
    rom = device(unreadable={STAGING.start} if unreadable else set())
    rom.put(STAGING.start, content)
    assert read(rom).staging is state


def test_the_newest_record_says_what_is_installed() -> None:
    old, new = products.record(version=1), products.record(version=2, sequence=2)
    status = read(put_records(device(), old, new))
    assert status.installed
    assert status.installed.version == 2
    assert status.installing is None
    assert status.refused is None


@pytest.mark.parametrize("kind", [RecordType.INSTALLING, RecordType.DONE])
def test_an_installation_in_progress_is_shown(kind: RecordType) -> None:
    status = read(put_records(device(), products.record(type=kind, state=AppState.INSTALLING)))
    assert status.installing
    assert status.installed is None


def test_a_refusal_is_shown_with_what_to_do_beside_the_installed_app() -> None:
    refused = products.record(
        type=RecordType.REFUSED,
        reason=Reason.COUNTER_TOO_OLD,
        refused_run=2,
        refused_version=0x01020003,
        refused_key_id=b"signer-1",
    )
    status = read(put_records(device(), products.record(), refused))
    shown = status_as_dict(status)["refused"]
    assert shown["reason"] == "counter_too_old"
    assert shown["do"] == "use a newer update"
    assert (shown["version"], shown["times"]) == ("1.2.3", 2)
    assert status.installed


def test_torn_and_unreadable_records_count_as_used_and_are_skipped() -> None:
    rom = put_records(device(), products.record(version=7), products.record()[:64], b"\0" * 128)
    rom.unreadable.add(MARKS.start + RECORD_SIZE + 64)
    status = read(rom)
    assert status.marks
    assert status.marks.used == 3
    assert status.marks.newest
    assert status.marks.newest.version == 7


def test_full_marks_are_seen() -> None:
    rom = put_records(device(), *[products.record(sequence=n) for n in range(1024)])
    status = read(rom)
    assert status.marks
    assert status.marks.free == 0
    assert status.marks.newest
    assert status.marks.newest.sequence == 1023


def test_a_record_is_found_in_the_carry_area_when_marks_were_just_erased() -> None:
    rom = device()
    rom.put(CARRY, products.record(sequence=9, version=9))
    rom.put(CARRY + RECORD_SIZE, products.record(sequence=4, version=4))
    status = read(rom)
    assert status.installed
    assert status.installed.version == 9


@pytest.mark.parametrize(("sequence", "found"), [(8, 7), (9, 9), (10, 9)])
def test_a_carried_record_counts_unless_the_marks_hold_a_newer_one(
    sequence: int, found: int
) -> None:
    """Emptying them was cut, or they cannot be emptied: what they still show may be old."""
    rom = put_records(device(), products.record(sequence=9, version=7))
    rom.put(CARRY, products.record(sequence=sequence, version=9))
    status = read(rom)
    assert status.installed
    assert status.installed.version == found


def test_a_protected_device_yields_a_status_not_an_error() -> None:
    status = read(device(protected=True))
    assert status.protected
    assert status_as_dict(status)["read_protected"] is True


def test_a_device_without_a_loader_says_so() -> None:
    status = read(Rom())
    assert status.loader is None
    assert status.marks is None


def test_a_layout_finds_the_areas_of_a_device_without_a_loader() -> None:
    rom = Rom()
    rom.put(STAGING.start, products.update())
    with rom.client() as client:
        status = read_status(client, load_layout(layouts() / "h743zi_app_bank2.yaml"))
    assert status.staged


def test_the_status_is_plain_json() -> None:
    rom = put_records(device(rom_id=0x90), products.record())
    rom.put(STAGING.start, products.update())
    shown = json.loads(json.dumps(status_as_dict(read(rom))))
    assert shown["rom"] == {"id": "0x90", "name": "V9.0"}
    assert shown["loader"]["verify_keys"][1] == products.SIGNER.hex()
    assert shown["staged"]["version"] == "1.4.2"
    assert shown["installed"]["floor_version"] == "1.4.0"
    assert shown["records"] == {"used": 1, "free": 1023}
