"""The factory image: loader, application and two ``installed`` records, to be flashed once.

It holds the device key in the clear, as the loader does: a secret file.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from packager import crypto
from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.door import door_fields, indicator_word
from packager.errors import FormatError, RefusedError
from packager.files import SECRET_MODE, write_atomic
from packager.format import CARRY_SIZE, DIGEST_SIZE, pad_to_flash_word
from packager.hex_file import read_hex, write_hex
from packager.image import load_image
from packager.keys import (
    LOADER_ROOM,
    Recipient,
    choose_keys,
    load_every_recipient,
    load_verify_keys,
)
from packager.layout import Layout
from packager.loader_file import LoaderFile, read_loader
from packager.records import (
    AppState,
    FlashArea,
    MarkRecord,
    RecordType,
    build_record,
)

FIRST_SEQUENCE = 1
"""``sequence`` of the first record of a factory image."""
FACTORY_UPDATE_ID = bytes(DIGEST_SIZE)
"""``update_id`` of an application that no update brought."""


def make_factory(
    app: Path,
    loader_elf: Path,
    layout: Layout,
    keys_dir: Path,
    version: int,
    counter: int,
    batches: Sequence[str] = (),
) -> dict[int, bytes]:
    """Read application and loader, check them against layout and keys, and put them together.

    Raises:
        PackagerError: any of them does not fit the others.
    """
    loader = read_loader(loader_elf)
    check_key_folder(loader, keys_dir, batches)
    return build_factory(load_image(app, layout).data, loader, layout, version, counter)


def build_factory(
    image: bytes, loader: LoaderFile, layout: Layout, version: int, counter: int
) -> dict[int, bytes]:
    """Return loader, application and records by address, each in whole flash words.

    The record is there twice, so that no single bad word takes its floor back. A blank word makes
    a programmer erase the app area's last sector too: its carry area may hold a newer record of a
    device that is made anew.

    Raises:
        RefusedError: a development loader, or one built for another layout.
    """
    check_loader(loader, layout)
    record = factory_record(image, version, counter)
    again = replace(record, sequence=FIRST_SEQUENCE + 1)
    return {
        layout.loader.start: pad_to_flash_word(loader.data),
        layout.app.start: pad_to_flash_word(image),
        **blank_word(image, layout),
        layout.marks.start: build_record(record) + build_record(again),
    }


def blank_word(image: bytes, layout: Layout) -> dict[int, bytes]:
    """Return a blank word before the carry area, unless the image reaches into its sector."""
    address = layout.app.end - CARRY_SIZE - FLASH_WORD
    reached = len(image) > layout.app.size - SECTOR_SIZE
    return {} if reached else {address: b"\xff" * FLASH_WORD}


def factory_record(image: bytes, version: int, counter: int) -> MarkRecord:
    """Return the record that says: this image is installed, and nothing older may follow."""
    return MarkRecord(
        type=RecordType.INSTALLED,
        sequence=FIRST_SEQUENCE,
        floor_counter=counter,
        floor_version=version,
        version=version,
        security_counter=counter,
        image_size=len(image),
        image_crc=zlib.crc32(image),
        update_id=FACTORY_UPDATE_ID,
        image_digest=crypto.digest(image),
        done_sectors=0,
        state=AppState.INSTALLED,
    )


def check_loader(loader: LoaderFile, layout: Layout) -> None:
    """Return only for a production loader of this very layout.

    Raises:
        RefusedError: neither.
    """
    info, where = loader.info, loader.name
    if info.is_dev:
        raise RefusedError(
            where,
            "development loader",
            "expected a production loader (this one boots any app that a debugger wrote)",
            "build the loader without --dev",
        )
    areas = [
        (name, getattr(info, name), FlashArea(span.start, span.size))
        for name, span in layout.areas.items()
        if hasattr(info, name)
    ]
    expectations = [
        ("product", info.product_id, layout.product_id_field),
        ("chip", info.chip, layout.chip.chip_id),
        *areas,
        ("layout id", info.layout_id, layout.layout_id),
        ("boot_check", info.boot_check, layout.boot_check),
        ("recovery", info.recovery, layout.recovery),
        ("supply threshold", info.supply_level, layout.supply_level),
        ("result_record", info.result_record, layout.result_record),
        ("indicator", info.indicator_pin, indicator_word(layout)),
        ("mailbox", info.mailbox, layout.mailbox_address),
        *((name, getattr(info, name), value) for name, value in door_fields(layout).items()),
    ]
    for name, found, wanted in expectations:
        if found != wanted:
            raise RefusedError(
                where,
                f"built with another {name} than {layout.path.name}",
                "expected the same layout",
                "build the loader again with this layout",
            )


def check_key_folder(loader: LoaderFile, keys_dir: Path, batches: Sequence[str] = ()) -> None:
    """Return only if a loader holds keys of this folder, and with ``batches`` just theirs.

    Raises:
        KeyFileError: a key is not as it should be, or there is no such batch.
        RefusedError: the loader was built with other keys.
    """
    recipients = load_every_recipient(keys_dir)
    verify_key_ids = [key.key_id for key in load_verify_keys(keys_dir)]
    check_keys(loader, verify_key_ids, [key.key_id for key in recipients])
    if not batches:
        return
    chosen = {
        key.key_id for key in choose_keys(recipients, batches, LOADER_ROOM, keys_dir / "public")
    }
    if set(loader.info.device_key_ids) != chosen:
        raise RefusedError(
            loader.name,
            f"holds device keys {_named(loader.info.device_key_ids, recipients)}",
            f"expected those of batch {' and '.join(batches)}, {_named(chosen, recipients)}",
            "build the loader with the same --batch",
        )


def check_keys(
    loader: LoaderFile, verify_key_ids: Sequence[bytes], recipient_ids: Sequence[bytes]
) -> None:
    """Return only if the loader trusts just these verify keys and opens what pack encrypts.

    Raises:
        RefusedError: it was built with other keys.
    """
    do = "build the loader again with these keys"
    if set(loader.info.verify_key_ids) != set(verify_key_ids):
        found = f"trusts verify keys {_listed(loader.info.verify_key_ids)}"
        raise RefusedError(loader.name, found, f"public/ has {_listed(verify_key_ids)}", do)
    if not set(loader.info.device_key_ids) <= set(recipient_ids):
        found = f"holds device keys {_listed(loader.info.device_key_ids)}"
        raise RefusedError(loader.name, found, f"public/ has {_listed(recipient_ids)}", do)


def write_factory(path: Path, pieces: dict[int, bytes]) -> None:
    """Write a factory image as Intel HEX, readable by its owner only; read back before.

    Raises:
        FormatError: the name does not end in .hex.
        PackagerError: the file cannot be written.
    """
    if path.suffix.lower() != ".hex":
        found = f"name ends in '{path.suffix}'"
        raise FormatError(str(path), found, "expected .hex", "rename the output")
    data = write_hex(pieces)
    if read_hex(data, str(path)) != pieces:
        raise FormatError(str(path), "reads back differently", "expected itself", "report this")
    write_atomic(path, data, SECRET_MODE)


def _named(ids: Collection[bytes], recipients: Sequence[Recipient]) -> str:
    names = {key.key_id: key.name for key in recipients}
    return ", ".join(sorted(f"{names.get(key_id, '?')} {key_id.hex()}" for key_id in ids))


def _listed(ids: Collection[bytes]) -> str:
    return ", ".join(sorted(key_id.hex() for key_id in ids)) or "none"
