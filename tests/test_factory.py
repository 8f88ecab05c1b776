"""The factory image: what is in it, and which loaders it never takes."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from elf_maker import Segment, make_elf
from material import image, key_folder, layout, mirror_layout

from packager import crypto, factory
from packager.chip import FLASH_WORD
from packager.door import indicator_word
from packager.errors import FormatError, KeyFileError, PackagerError, RefusedError
from packager.format import CARRY_SIZE, INFO_FLAG_DEV, INFO_OFFSET, RECORD_SIZE, BootCheck
from packager.hex_file import read_hex
from packager.keys import keygen, load_recipients, load_verify_keys
from packager.layout import Layout
from packager.records import AppState, FlashArea, InfoBlock, RecordType, build_info, parse_record
from packager.vectors import stack_ram

VERSION, COUNTER = 0x0102_0003, 7
IMAGE = image(3001)


def info_for(target: Layout, keys: Path) -> InfoBlock:
    """Return the info block of a loader for a layout and a key folder."""

    def area(name: str) -> FlashArea:
        span = target.areas[name]
        return FlashArea(span.start, span.size)

    return InfoBlock(
        loader_version=1,
        chip=target.chip.chip_id,
        flags=0,
        product_id=target.product_id_field,
        product_name=target.product_name.encode().ljust(32, b"\0"),
        layout_id=target.layout_id,
        loader=area("loader"),
        staging=area("staging"),
        app=area("app"),
        marks=area("marks"),
        ram=tuple(FlashArea(ram.span.start, ram.span.size) for ram in stack_ram(target.chip)),
        boot_check=target.boot_check,
        recovery=target.recovery,
        supply_level=target.supply_level,
        result_record=target.result_record,
        verify_key_ids=tuple(key.key_id for key in load_verify_keys(keys)),
        device_key_ids=tuple(key.key_id for key in load_recipients(keys)),
        indicator_pin=indicator_word(target),
        mailbox=target.mailbox_address,
    )


def loader_elf(path: Path, info: InfoBlock, start: int = 0x0800_0000) -> Path:
    """Write a loader that is nothing but vectors and an info block."""
    elf = make_elf(
        Segment(start, b"vectors"), Segment(start + INFO_OFFSET, build_info(info) + b"code")
    )
    path.write_bytes(elf)
    return path


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An application file."""
    path = tmp_path / "app.bin"
    path.write_bytes(IMAGE)
    return path


@pytest.fixture
def good(tmp_path: Path) -> InfoBlock:
    """The info block of the right loader."""
    return info_for(layout(), key_folder())


def made(tmp_path: Path, app: Path, info: InfoBlock) -> dict[int, bytes]:
    elf = loader_elf(tmp_path / "loader.elf", info)
    return factory.make_factory(app, elf, layout(), key_folder(), VERSION, COUNTER)


def test_it_is_loader_app_and_records_in_whole_flash_words(
    tmp_path: Path, app: Path, good: InfoBlock
) -> None:
    pieces = made(tmp_path, app, good)

    before_carry = 0x081E_0000 - CARRY_SIZE - FLASH_WORD
    assert list(pieces) == [0x0800_0000, 0x0810_0000, before_carry, 0x081E_0000]
    assert pieces[before_carry] == b"\xff" * FLASH_WORD
    assert all(len(data) % FLASH_WORD == 0 for data in pieces.values())
    assert pieces[0x0800_0000][:7] == b"vectors"
    assert pieces[0x0800_0000][7:INFO_OFFSET] == b"\xff" * (INFO_OFFSET - 7)
    assert pieces[0x0810_0000].startswith(IMAGE)


def test_its_record_says_installed_from_the_factory(
    tmp_path: Path, app: Path, good: InfoBlock
) -> None:
    record = parse_record(made(tmp_path, app, good)[0x081E_0000][:RECORD_SIZE])

    assert (record.type, record.state) == (RecordType.INSTALLED, AppState.INSTALLED)
    assert (record.floor_counter, record.floor_version) == (COUNTER, VERSION)
    assert (record.security_counter, record.version) == (COUNTER, VERSION)
    assert (record.image_size, record.image_crc) == (len(IMAGE), zlib.crc32(IMAGE))
    assert record.image_digest == crypto.digest(IMAGE)
    assert record.update_id == bytes(32)
    assert record.done_sectors == 0


def test_its_record_is_there_twice_so_that_one_bad_word_takes_nothing_back(
    tmp_path: Path, app: Path, good: InfoBlock
) -> None:
    records = made(tmp_path, app, good)[0x081E_0000]
    first, second = (parse_record(records[at:][:RECORD_SIZE]) for at in (0, RECORD_SIZE))

    assert len(records) == 2 * RECORD_SIZE
    assert second == replace(first, sequence=2)


Change = Callable[[InfoBlock], InfoBlock]
WRONG_LOADERS: list[tuple[str, Change, str]] = [
    ("dev", lambda info: replace(info, flags=INFO_FLAG_DEV), "development loader"),
    ("product", lambda info: replace(info, product_id=b"x" * 16), "another product than"),
    ("chip", lambda info: replace(info, chip=1), "another chip than"),
    ("app", lambda info: replace(info, app=FlashArea(0x0812_0000, 1)), "another app than"),
    ("marks", lambda info: replace(info, marks=FlashArea(0, 1)), "another marks than"),
    ("layout", lambda info: replace(info, layout_id=bytes(16)), "another layout id than"),
    ("check", lambda info: replace(info, boot_check=BootCheck.OFF), "another boot_check than"),
    ("verify", lambda info: replace(info, verify_key_ids=(b"8 bytes!",)), "trusts verify keys"),
    (
        "one verify key less",
        lambda info: replace(info, verify_key_ids=info.verify_key_ids[:1]),
        "trusts verify keys",
    ),
    ("device", lambda info: replace(info, device_key_ids=(b"8 bytes!",)), "holds device keys"),
]


@pytest.mark.parametrize(
    ("name", "change", "text"), WRONG_LOADERS, ids=[name for name, _, _ in WRONG_LOADERS]
)
def test_a_loader_that_does_not_fit_is_refused(
    tmp_path: Path, app: Path, good: InfoBlock, name: str, change: Change, text: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        made(tmp_path, app, change(good))

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loader_built_with_other_keys_is_refused(
    tmp_path: Path, app: Path, good: InfoBlock
) -> None:
    keygen(tmp_path / "others")
    elf = loader_elf(tmp_path / "loader.elf", good)

    with pytest.raises(RefusedError, match="trusts verify keys"):
        factory.make_factory(app, elf, layout(), tmp_path / "others", VERSION, COUNTER)
    with pytest.raises(KeyFileError):
        factory.make_factory(app, elf, layout(), tmp_path, VERSION, COUNTER)


def test_an_elf_file_that_is_no_loader_is_refused(
    tmp_path: Path, app: Path, good: InfoBlock
) -> None:
    other = tmp_path / "other.elf"
    other.write_bytes(make_elf(Segment(0x0800_0000, bytes(4096))))

    with pytest.raises(FormatError, match="info block"):
        factory.make_factory(app, other, layout(), key_folder(), VERSION, COUNTER)
    elf = loader_elf(tmp_path / "late.elf", good, start=0x0802_0000)
    with pytest.raises(FormatError, match="bytes outside"):
        factory.make_factory(app, elf, layout(), key_folder(), VERSION, COUNTER)


def test_a_loader_of_the_mirror_layout_is_refused(tmp_path: Path, app: Path) -> None:
    with pytest.raises(RefusedError, match="another product than"):
        made(tmp_path, app, info_for(mirror_layout(), key_folder()))


def test_the_file_is_hex_for_its_owner_only(tmp_path: Path, app: Path, good: InfoBlock) -> None:
    pieces, path = made(tmp_path, app, good), tmp_path / "factory_SECRET.hex"

    factory.write_factory(path, pieces)

    assert read_hex(path.read_bytes(), "factory") == pieces
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_another_form_is_refused_and_not_written(tmp_path: Path) -> None:
    with pytest.raises(PackagerError, match=r"expected \.hex"):
        factory.write_factory(tmp_path / "factory.bin", {0: b"x"})

    assert list(tmp_path.iterdir()) == []
