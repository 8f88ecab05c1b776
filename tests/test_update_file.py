"""Updates in files: three forms, one content, and everything that is none."""

from __future__ import annotations

import itertools
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from material import image, key_set, layout, update

from packager import files, hex_file, update_file
from packager.chip import KIB
from packager.dfuse_file import read_dfuse, write_dfuse
from packager.errors import FormatError, PackagerError
from packager.format import HEADER_SIZE, UPDATE_MAGIC, payload_size_of
from packager.hex_file import read_hex, write_hex
from packager.update_file import FORMS, decode, encode, read_update_file, write_update

STAGING = 0x0802_0000


def problem(data: bytes) -> str:
    with pytest.raises(PackagerError) as caught:
        decode(data, "file")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dfu_crc(data: bytes) -> bytes:
    return (zlib.crc32(data) ^ 0xFFFF_FFFF).to_bytes(4, "little")


@pytest.mark.parametrize("form", FORMS)
def test_an_update_reads_back_from_every_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"app.update.{form}"

    write_update(path, update())

    found = read_update_file(path)
    assert (found.data, found.form, found.address) == (update(), form, STAGING)
    assert found.header.version == 0x0104_0002


@given(size=st.integers(8, 70_000))
@settings(max_examples=12, deadline=None)
def test_all_forms_carry_the_same_bytes_for_any_size(size: int) -> None:
    data = update(size)

    assert {decode(encode(data, form)).data for form in FORMS} == {data}


@pytest.mark.parametrize("form", FORMS)
def test_the_content_decides_not_the_name(tmp_path: Path, form: str) -> None:
    path = tmp_path / "app.img"
    path.write_bytes(encode(update(), form))

    assert read_update_file(path).form == form


def test_the_bin_form_is_what_lies_in_staging() -> None:
    assert encode(update(), "bin") == update()


def test_the_hex_form_has_16_bytes_to_a_record_and_names_the_address() -> None:
    lines = encode(update(), "hex").decode("ascii").splitlines()

    assert lines[0] == ":020000040802F0"
    assert lines[1].startswith(":10000000" + UPDATE_MAGIC.hex().upper())
    assert lines[-1] == ":00000001FF"
    assert all(len(line) <= 43 for line in lines)


def test_the_dfu_form_is_laid_out_as_um0391_says() -> None:
    data, content = update(), encode(update(), "dfu")
    prefix = struct.unpack_from("<5sBIB", content)
    target = struct.unpack_from("<6sBI255sII", content, 11)
    element = struct.unpack_from("<II", content, 11 + 274)
    suffix = struct.unpack_from("<HHHH3sBI", content, len(content) - 16)

    assert prefix == (b"DfuSe", 1, len(content) - 16, 1)
    assert target[:3] == (b"Target", 0, 1)
    assert target[4:] == (len(data) + 8, 1)
    assert element == (STAGING, len(data))
    assert content[11 + 274 + 8 : -16] == data
    assert suffix[:6] == (0xFFFF, 0xDF11, 0x0483, 0x011A, b"UFD", 16)
    assert content[-4:] == dfu_crc(content[:-4])


def test_dfu_suffix_accepts_the_dfu_form(tmp_path: Path) -> None:
    tool = shutil.which("dfu-suffix")
    if tool is None:
        pytest.skip("dfu-suffix is not installed")
    write_update(tmp_path / "app.dfu", update())

    done = subprocess.run(
        [tool, "-c", tmp_path / "app.dfu"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert "0x011A" in done.stdout


@pytest.mark.parametrize("size", ["length", "zero"])
def test_dfu_files_with_the_size_field_of_other_tools_are_read(size: str) -> None:
    content = bytearray(encode(update(), "dfu")[:-4])
    content[6:10] = (len(content) + 4 if size == "length" else 0).to_bytes(4, "little")

    assert decode(bytes(content) + dfu_crc(bytes(content))).data == update()


def test_dfu_elements_that_touch_are_one_update() -> None:
    content = bytearray(write_dfuse(STAGING, update()[:HEADER_SIZE]))[:-16]
    rest = update()[HEADER_SIZE:]
    content += struct.pack("<II", STAGING + HEADER_SIZE, len(rest)) + rest
    content[11 + 270 : 11 + 274] = (2).to_bytes(4, "little")
    content[6:10] = len(content).to_bytes(4, "little")
    content += struct.pack("<HHHH3sB", 0, 0xDF11, 0x0483, 0x011A, b"UFD", 16)

    assert decode(bytes(content) + dfu_crc(bytes(content))).data == update()


@pytest.mark.parametrize("form", FORMS)
def test_an_unpadded_tail_and_a_blank_one_read_as_whole_flash_words(form: str) -> None:
    size = HEADER_SIZE + payload_size_of(20_000, 16_384)
    for content in (update()[:size], update() + b"\xff" * 4096):
        pieces = {STAGING: content}
        written = {
            "bin": content,
            "hex": write_hex(pieces),
            "dfu": write_dfuse(STAGING, content),
        }[form]
        assert decode(written).data == update()


WRONG = [
    ("empty run of colons", b":" * 100, "no end-of-file record"),
    ("text", b"just text", "no update"),
    ("an application", image(2000), "no update"),
    ("header only", update()[:100], "only 100 bytes"),
    ("half an update", update()[:10_000], "truncated, 10000 bytes, expected 20672"),
    ("leftover", update() + b"x", "1 bytes behind the update"),
    ("hex cut off", encode(update(), "hex")[:5000], "no end-of-file record"),
    ("hex elsewhere", write_hex({0x0804_0000: update()}), "it belongs at 0x08020000"),
    ("hex of two", write_hex({STAGING: update(), 0x0810_0000: b"x"}), "2 separate pieces"),
    ("hex of an app", write_hex({STAGING: image(2000)}), "no update"),
    ("hex without data", b":00000001FF\n", "no data"),
    ("hex twice", encode(update(), "hex") * 2, "end-of-file record in line"),
    ("hex overlap", b":0100000001FE\n:0100000002FD\n:00000001FF\n", "overlap"),
    ("hex with accents", ":00é\n:00000001FF\n".encode(), "not plain text"),
    ("dfu cut off", encode(update(), "dfu")[:-1], "damaged DfuSe file"),
    ("dfu elsewhere", write_dfuse(0x0804_0000, update()), "it belongs at 0x08020000"),
    ("dfu prefix", b"DfuSe", "damaged DfuSe file"),
]


@pytest.mark.parametrize(("name", "data", "text"), WRONG, ids=[name for name, _, _ in WRONG])
def test_what_is_no_update_is_told(name: str, data: bytes, text: str) -> None:
    assert text in problem(data)


def test_a_hex_error_names_the_line() -> None:
    lines = encode(update(), "hex").splitlines()
    lines[4] = lines[4][:-1] + (b"0" if lines[4][-1:] != b"0" else b"1")

    assert "line 5" in problem(b"\n".join(lines))


@pytest.mark.parametrize(
    ("at", "size", "text"),
    [(6, 4, "DfuSe image size is"), (-14, 2, "USB device"), (-12, 2, "USB device")],
)
def test_a_dfu_file_of_something_else_is_told(at: int, size: int, text: str) -> None:
    content = bytearray(encode(update(), "dfu"))
    content[at : at + size] = b"\x01" * size
    body = bytes(content[:-4])

    assert text in problem(body + dfu_crc(body))


@given(data=st.binary(max_size=500), head=st.sampled_from([b"", b"DfuSe\1", b":", UPDATE_MAGIC]))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_one_line_of_error(data: bytes, head: bytes) -> None:
    assert problem(head + data)


@given(data=st.data(), form=st.sampled_from(FORMS))
@settings(max_examples=150, deadline=None)
def test_a_truncated_file_is_one_line_of_error(data: st.DataObject, form: str) -> None:
    whole = encode(update(900), form)
    whole = whole[: HEADER_SIZE + payload_size_of(900, 16_384)] if form == "bin" else whole.strip()
    size = data.draw(st.integers(0, len(whole) - 1))

    assert problem(whole[:size])


@given(at=st.integers(0, 1500), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_dfu_file_is_noticed(at: int, value: int) -> None:
    whole = bytearray(encode(update(900), "dfu"))
    at %= len(whole)
    if whole[at] == value:
        return
    whole[at] = value

    assert problem(bytes(whole))


@given(
    st.dictionaries(
        st.integers(0, 0xFFFF_FF00), st.binary(min_size=1, max_size=100), min_size=1, max_size=4
    )
)
@settings(max_examples=100, deadline=None)
def test_hex_reads_back_what_was_written(pieces: dict[int, bytes]) -> None:
    starts = sorted(pieces)
    gaps = itertools.pairwise(starts)
    if any(start + len(pieces[start]) >= following for start, following in gaps):
        return

    assert read_hex(write_hex(pieces), "file") == pieces


@given(address=st.integers(0, 0xFFFF_0000), data=st.binary(min_size=1, max_size=300))
@settings(max_examples=100, deadline=None)
def test_dfuse_reads_back_what_was_written(address: int, data: bytes) -> None:
    found = read_dfuse(write_dfuse(address, data), "file")

    assert found == {address: data + b"\xff" * (-len(data) % 32)}


def test_data_beyond_32_bits_is_refused() -> None:
    with pytest.raises(FormatError, match="beyond 32-bit addresses"):
        read_dfuse(write_dfuse(0xFFFF_FFF0, b"x"), "file")


@pytest.mark.parametrize("name", ["app.img", "app", "app.update"])
def test_an_unknown_form_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=r"expected \.hex, \.bin or \.dfu"):
        write_update(tmp_path / name, update())

    assert list(tmp_path.iterdir()) == []


def test_every_form_goes_into_a_folder_under_one_name(tmp_path: Path) -> None:
    paths = update_file.write_all_forms(tmp_path / "release", update())

    assert [path.name for path in paths] == [
        f"demo-h743zi-1.4.2.update.{form}" for form in ("hex", "bin", "dfu")
    ]
    assert {read_update_file(path).data for path in paths} == {update()}


def test_no_form_is_written_if_one_of_the_names_is_taken(tmp_path: Path) -> None:
    taken = tmp_path / "demo-h743zi-1.4.2.update.dfu"
    taken.mkdir()

    with pytest.raises(PackagerError, match="is no regular file"):
        update_file.write_all_forms(tmp_path, update())

    assert list(tmp_path.iterdir()) == [taken]


def test_a_writer_that_writes_wrongly_notices_it_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = update() + b"\xff" * 32
    monkeypatch.setattr(hex_file, "write_hex", lambda pieces: write_hex({STAGING: update(20_001)}))

    with pytest.raises(PackagerError, match="reads back differently"):
        write_update(tmp_path / "app.hex", update())
    with pytest.raises(PackagerError, match="reads back differently"):
        write_update(tmp_path / "app.bin", longer)

    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_the_older_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.bin"
    path.write_bytes(b"older")

    def full_disk(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(PackagerError, match="No space left on device"):
        write_update(path, update())

    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"older"


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(PackagerError, match="cannot be written"):
        write_update(tmp_path / "gone" / "app.bin", update())


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.write(UPDATE_MAGIC)
        file.truncate(1 << 34)  # sparse

    with pytest.raises(FormatError, match="larger than 4096 KiB"):
        read_update_file(path)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.bin").touch()

    with pytest.raises(FormatError, match="empty file"):
        read_update_file(tmp_path / "empty.bin")


def test_the_limit_of_files_holds_the_largest_update_of_any_form() -> None:
    largest = 896 * KIB
    hex_size = (largest // 16) * 44 + 16 * (largest // 65536 + 2)

    assert hex_size < files.MAX_FILE_SIZE
    assert key_set().plan().layout == layout()
