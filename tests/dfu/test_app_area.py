"""What ``status`` says of the application beside its record, against a scripted device."""

from __future__ import annotations

import hashlib
import random
import zlib

import pytest
from dfu import products
from dfu.products import APP, MARKS
from dfu.scripted import Rom

from packager.dfu.app_area import READING, AppFound
from packager.dfu.status import DeviceStatus, read_app, read_status, status_as_dict
from packager.format import INFO_FLAG_DEV, BootCheck
from packager.records import AppState, RecordType

IMAGE = random.Random(3).randbytes(5000)
VECTORS = (0x2001_0000).to_bytes(4, "little") + (APP.start + 0x401).to_bytes(4, "little")
RECORD = {
    "image_size": len(IMAGE),
    "image_crc": zlib.crc32(IMAGE),
    "image_digest": hashlib.blake2b(IMAGE, digest_size=32).digest(),
    "version": 0x01040002,
}


def device(app: bytes, *records: bytes, **info: object) -> Rom:
    rom = Rom()
    rom.put(products.INFO_ADDRESS, products.info_bytes(**info))  # type: ignore[arg-type]
    rom.put(APP.start, app)
    for slot, data in enumerate(records):
        rom.put(MARKS.start + slot * 128, data)
    return rom


def read(rom: Rom) -> DeviceStatus:
    with rom.client() as client:
        return read_app(client, read_status(client))


def test_an_application_as_it_was_installed_is_called_so() -> None:
    status = read(device(IMAGE, products.record(**RECORD)))

    assert status_as_dict(status)["app"] == {
        "found": "as_installed",
        "meaning": "version 1.4.2, byte for byte as installed",
        "do": None,
    }


@pytest.mark.parametrize("at", [0, 2500, len(IMAGE) - 1])
def test_one_byte_changed_by_a_debugger_is_told_in_words(at: int) -> None:
    changed = bytearray(IMAGE)
    changed[at] ^= 1

    status = read(device(bytes(changed), products.record(**RECORD)))

    assert status_as_dict(status)["app"] == {
        "found": "changed",
        "meaning": "the application in flash is not the one that was installed (record says 1.4.2):"
        " a debugger or programmer changed it, or the flash decayed",
        "do": "drop the update again, or use a development loader",
    }


def with_the_same_crc(image: bytes) -> bytes:
    """Return another image with the CRC-32 of this one: whatever its last four bytes must be."""
    changed = bytes([image[0] ^ 1]) + image[1:-4]
    # CRC-32 is linear: each bit of the last four bytes flips bits of it that are always the same
    zeros = zlib.crc32(changed + bytes(4))
    flips = {
        1 << bit: zlib.crc32(changed + (1 << bit).to_bytes(4, "little")) ^ zeros
        for bit in range(32)
    }
    basis: dict[int, tuple[int, int]] = {}
    for tail, flipped in flips.items():
        tail, flipped = _reduced(basis, tail, flipped)
        basis[flipped.bit_length()] = (tail, flipped)
    tail, rest = _reduced(basis, 0, zlib.crc32(image) ^ zeros)
    assert rest == 0
    return changed + tail.to_bytes(4, "little")


def _reduced(basis: dict[int, tuple[int, int]], tail: int, flipped: int) -> tuple[int, int]:
    while flipped and flipped.bit_length() in basis:
        bits, flips = basis[flipped.bit_length()]
        tail, flipped = tail ^ bits, flipped ^ flips
    return tail, flipped


def test_a_change_that_keeps_the_checksum_is_told_all_the_same() -> None:
    changed = with_the_same_crc(IMAGE)
    assert zlib.crc32(changed) == zlib.crc32(IMAGE)

    status = read(device(changed, products.record(**RECORD)))

    assert status.app is not None
    assert status.app.found is AppFound.CHANGED


@pytest.mark.parametrize("info", [{"flags": INFO_FLAG_DEV}, {"boot_check": BootCheck.OFF}])
def test_a_loader_that_starts_it_all_the_same_is_not_asked_to_be_replaced(
    info: dict[str, object],
) -> None:
    status = read(device(VECTORS, products.record(**RECORD), **info))

    assert status.app is not None
    assert status.app.found is AppFound.CHANGED
    assert status.app.do.startswith("this loader starts it all the same")


def test_what_lies_behind_the_image_does_not_count() -> None:
    status = read(device(IMAGE + b"more", products.record(**RECORD)))

    assert status.app is not None
    assert status.app.found is AppFound.AS_INSTALLED


def test_a_refusal_behind_it_changes_nothing() -> None:
    refused = products.record(type=RecordType.REFUSED, sequence=2, **RECORD)

    status = read(device(IMAGE, products.record(**RECORD), refused))

    assert status.app is not None
    assert status.app.found is AppFound.AS_INSTALLED


def test_a_record_with_no_possible_size_speaks_for_nothing() -> None:
    too_large = {**RECORD, "image_size": APP.size + 1}

    for record in (too_large, {**RECORD, "image_size": 0}):
        status = read(device(IMAGE, products.record(**record)))
        assert status.app is not None
        assert status.app.found is AppFound.CHANGED


@pytest.mark.parametrize(
    ("flags", "do"),
    [(0, "a development loader would start it"), (INFO_FLAG_DEV, "this loader starts it")],
)
def test_an_application_without_a_record_is_told_from_no_application(flags: int, do: str) -> None:
    with_app = read(device(VECTORS, flags=flags)).app
    without = read(device(b"", flags=flags)).app

    assert with_app is not None
    assert without is not None
    assert (with_app.found, without.found) == (AppFound.NO_RECORD, AppFound.NOTHING)
    assert "no record speaks for it" in with_app.meaning
    assert do in with_app.do


@pytest.mark.parametrize(
    ("stack", "entry"),
    [
        (0x2001_0004, APP.start + 0x401),  # no multiple of 8
        (0x2001_0000, APP.start + 0x400),  # not Thumb
        (0x2001_0000, APP.start + 5),  # in the vectors themselves
        (0x2001_0000, APP.end + 1),
        (0x0800_0000, APP.start + 0x401),
    ],
)
def test_what_the_loader_would_not_start_is_called_no_application(stack: int, entry: int) -> None:
    vectors = stack.to_bytes(4, "little") + entry.to_bytes(4, "little")

    app = read(device(vectors, flags=INFO_FLAG_DEV)).app

    assert app is not None
    assert app.found is AppFound.NOTHING


def test_while_an_installation_is_unfinished_nothing_is_read() -> None:
    rom = device(IMAGE, products.record(type=RecordType.INSTALLING, state=AppState.INSTALLING))
    with rom.client() as client:
        status = read_status(client)
        before = rom.count("UPLOAD")
        app = read_app(client, status).app

    assert app is not None
    assert app.found is AppFound.IN_PIECES
    assert rom.count("UPLOAD") == before


def test_a_word_that_went_bad_is_told() -> None:
    rom = device(IMAGE, products.record(**RECORD))
    rom.unreadable.add(APP.start + 1024)

    app = read(rom).app

    assert app is not None
    assert app.found is AppFound.UNREADABLE
    assert app.do == "drop the update again"


def test_the_progress_ends_with_the_whole_image() -> None:
    rom = device(IMAGE, products.record(**RECORD))
    told: list[tuple[str, int, int]] = []
    with rom.client() as client:
        read_app(client, read_status(client), None, lambda *step: told.append(step))

    assert told[-1] == (READING, len(IMAGE), len(IMAGE))
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_a_device_without_a_loader_is_not_asked() -> None:
    assert read(Rom()).app is None
