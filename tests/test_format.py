"""The format: rebuild equals input, and the C view cannot drift from the construct one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager import format as fmt
from packager import format_c, records
from packager.errors import FormatError
from packager.reasons import EXPLANATIONS, Reason

ROOT = Path(__file__).parent.parent


def words() -> st.SearchStrategy[int]:
    return st.integers(0, 0xFFFF_FFFF)


def raw(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def key_ids() -> st.SearchStrategy[bytes]:
    return raw(8).filter(any)


headers = st.builds(
    fmt.UpdateHeader,
    product_id=raw(16),
    version=words(),
    security_counter=words(),
    chip=words(),
    app_address=words(),
    staging_address=words(),
    flags=st.sampled_from([0, fmt.FLAG_ALLOW_DOWNGRADE]),
    layout_id=raw(16),
    image_size=words(),
    payload_size=words(),
    chunk_size=words(),
    image_digest=raw(32),
    payload_digest=raw(32),
    base_nonce=raw(12),
    signing_key_id=raw(8),
    ephemeral_public_key=raw(32),
    recipients=st.lists(
        st.builds(fmt.WrappedKey, key_id=key_ids(), wrapped_cek=raw(32), wrap_tag=raw(16)),
        max_size=fmt.RECIPIENT_SLOTS,
    ).map(tuple),
    signature=raw(64),
)
mark_records = st.builds(
    records.MarkRecord,
    type=st.sampled_from(records.RecordType),
    sequence=words(),
    floor_counter=words(),
    floor_version=words(),
    version=words(),
    security_counter=words(),
    image_size=words(),
    image_crc=words(),
    update_id=raw(32),
    image_digest=raw(32),
    done_sectors=words(),
    state=st.sampled_from(records.AppState),
    reason=st.sampled_from(Reason),
    refused_run=words(),
    refused_version=words(),
    refused_key_id=raw(8),
)


@given(headers)
def test_a_header_survives_build_and_parse(header: fmt.UpdateHeader) -> None:
    assert fmt.parse_header(fmt.build_header(header)) == header


@given(mark_records)
def test_a_record_survives_build_and_parse(record: records.MarkRecord) -> None:
    assert records.parse_record(records.build_record(record)) == record


@given(mark_records, st.integers(0, fmt.RECORD_SIZE * 8 - 1))
def test_a_record_with_a_flipped_bit_is_no_record(record: records.MarkRecord, bit: int) -> None:
    data = bytearray(records.build_record(record))
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises(FormatError):
        records.parse_record(bytes(data))


@given(st.binary(max_size=700))
def test_random_bytes_are_no_header_record_or_block(data: bytes) -> None:
    for parse in (fmt.parse_header, records.parse_record, records.parse_info, records.parse_result):
        with pytest.raises(FormatError):
            parse(data)


@given(headers, raw(fmt.HEADER_SIZE))
def test_a_header_of_noise_behind_a_true_start_is_refused_or_rebuilds_itself(
    header: fmt.UpdateHeader, noise: bytes
) -> None:
    data = fmt.build_header(header)[:16] + noise[16:]
    try:
        parsed = fmt.parse_header(data)
    except FormatError:
        return
    assert fmt.build_header(parsed) == data


def test_an_erased_and_a_zero_slot_are_no_records() -> None:
    for blank in (b"\xff" * fmt.RECORD_SIZE, bytes(fmt.RECORD_SIZE)):
        with pytest.raises(FormatError):
            records.parse_record(blank)


def test_the_committed_c_header_is_current() -> None:
    committed = (ROOT / "mcu_loader" / "format.h").read_text()

    assert committed == format_c.render(), "run: python -m packager.format_c > mcu_loader/format.h"


def test_every_flash_struct_is_made_of_whole_flash_words() -> None:
    for name, struct in records.STRUCTS.items():
        assert struct.sizeof() % 32 == 0, name


def test_the_magic_is_taken_for_no_lpc_or_ti_prefix_and_for_no_ram_address() -> None:
    magic = fmt.UPDATE_MAGIC

    assert not (magic[0] & 0x3F == 0x1A and magic[1] & 0x3F == 0x3F)
    assert magic[:2] != b"\x01\x00"
    assert int.from_bytes(magic[:4], "little") >> 28 not in (0x0, 0x1, 0x2, 0x3)


def test_wide_constants_differ_in_many_bits() -> None:
    for enum in (records.RecordType, records.AppState):
        values = [member.value for member in enum]
        for at, one in enumerate(values):
            for other in values[at + 1 :]:
                assert (one ^ other).bit_count() >= 8


def test_every_reason_has_a_sentence_and_advice() -> None:
    assert set(EXPLANATIONS) == set(Reason)
    for explanation in EXPLANATIONS.values():
        assert explanation.meaning
        assert explanation.do


@pytest.mark.parametrize(
    ("text", "number"), [("0.0.0", 0), ("1.4.2", 0x01040002), ("255.255.65535", 0xFFFF_FFFF)]
)
def test_a_version_is_one_number(text: str, number: int) -> None:
    assert fmt.pack_version(text) == number
    assert fmt.version_text(number) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "256.0.0", "1.0.65536", "1.-2.3", "v1.2.3", "1.2.3 ", "\u0661.2.3"],
)
def test_a_malformed_version_is_told(text: str) -> None:
    with pytest.raises(FormatError, match=r"MAJOR\.MINOR\.PATCH"):
        fmt.pack_version(text)


@given(st.integers(1, 2_000_000), st.sampled_from([1024, 2048, 4096, 8192, 16384]))
def test_the_largest_image_fits_and_one_byte_more_does_not(staging: int, chunk: int) -> None:
    size = fmt.largest_image(1 << 30, staging, chunk)

    if size:
        assert fmt.HEADER_SIZE + fmt.payload_size_of(size, chunk) <= staging
    assert fmt.HEADER_SIZE + fmt.payload_size_of(size + 1, chunk) > staging


areas = st.builds(records.FlashArea, start=words(), size=words())
infos = st.builds(
    records.InfoBlock,
    loader_version=words(),
    chip=words(),
    flags=st.sampled_from([0, fmt.INFO_FLAG_DEV]),
    product_id=raw(16),
    product_name=raw(32),
    layout_id=raw(16),
    loader=areas,
    staging=areas,
    app=areas,
    marks=areas,
    ram=st.lists(areas, min_size=4, max_size=4).map(tuple),
    boot_check=st.sampled_from(fmt.BootCheck),
    recovery=st.sampled_from(fmt.Recovery),
    supply_level=st.integers(0, 7),
    result_record=words(),
    verify_key_ids=st.lists(raw(8), min_size=1, max_size=4).map(tuple),
    device_key_ids=st.lists(raw(8), min_size=1, max_size=2).map(tuple),
)


@given(infos)
def test_an_info_block_survives_build_and_parse(info: records.InfoBlock) -> None:
    assert records.parse_info(records.build_info(info)) == info


@given(
    st.builds(
        records.ResultRecord,
        loader_version=words(),
        action=st.sampled_from(records.Action),
        reason=st.sampled_from(Reason),
        version=words(),
        security_counter=words(),
        reset_cause=words(),
    )
)
def test_a_result_record_survives_build_and_parse(record: records.ResultRecord) -> None:
    assert records.parse_result(records.build_result(record)) == record


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b"pump\0\0", "pump"),
        ("Größe µ".encode(), "Größe µ"),
        (b"pump\xe4", r"pump\xe4"),
        (b"x\x1b[2J\nsigned: ok\0", r"x\x1b[2J\nsigned: ok"),
        (b"a\0b\r\t\x7f\0", r"a\x00b\r\t\x7f"),
        ("\u202etxt.exe\u2028".encode(), r"\u202etxt.exe\u2028"),
    ],
)
def test_the_text_of_a_field_is_shown_but_never_acts(field: bytes, text: str) -> None:
    assert fmt.field_text(field) == text


@given(st.binary())
def test_the_text_of_any_field_is_one_printable_line(field: bytes) -> None:
    assert fmt.field_text(field).isprintable()
