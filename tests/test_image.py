"""Application images: every way to read one, and every way it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_maker import Segment, make_elf
from hypothesis import given, settings
from hypothesis import strategies as st
from material import DTCM_END, image, layout, update

from packager.chip import KIB
from packager.errors import FormatError, ImageError, PackagerError
from packager.hex_file import write_hex
from packager.image import MAX_SEGMENT_SIZE, elf_segments, load_image
from packager.vectors import stack_ram, vectors_are_plausible

APP = 0x0810_0000
RAM = 0x2400_0000


def save(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def problem(folder: Path, name: str, data: bytes) -> str:
    with pytest.raises(PackagerError) as caught:
        load_image(save(folder, name, data), layout())
    text = str(caught.value).replace(f"{folder}/", "")
    assert "\n" not in text
    assert text.startswith(f"{name}: ")
    return text


def with_vectors(sp: int, reset: int, size: int = 64) -> bytes:
    return sp.to_bytes(4, "little") + reset.to_bytes(4, "little") + bytes(size - 8)


def test_the_same_program_is_read_from_elf_hex_and_bin(tmp_path: Path) -> None:
    data = image(3000)
    files = {
        "app.elf": make_elf(Segment(APP, data)),
        "app.hex": write_hex({APP: data}),
        "app.bin": data,
    }

    for name, content in files.items():
        found = load_image(save(tmp_path, name, content), layout())
        assert (found.address, found.data) == (APP, data), name


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    data = image(3000)

    assert load_image(save(tmp_path, "a.bin", write_hex({APP: data})), layout()).data == data
    assert load_image(save(tmp_path, "b.hex", make_elf(Segment(APP, data))), layout()).data == data
    assert load_image(save(tmp_path, "b.axf", make_elf(Segment(APP, data))), layout()).data == data


def test_initialised_data_is_taken_from_its_load_address(tmp_path: Path) -> None:
    code, data = image(100), b"initialised"
    elf = make_elf(
        Segment(APP, code),
        Segment(APP + 100, data, run_address=RAM),
        Segment(RAM + 64, b"", memory_size=4096),
    )

    found = load_image(save(tmp_path, "app.elf", elf), layout())

    assert found.data == code + data


def test_gaps_are_filled_with_what_erased_flash_reads(tmp_path: Path) -> None:
    elf = make_elf(Segment(APP + 256, b"tail"), Segment(APP, image(100)))

    found = load_image(save(tmp_path, "app.elf", elf), layout())

    assert found.data == image(100) + b"\xff" * 156 + b"tail"
    assert found.segments == {APP: image(100), APP + 256: b"tail"}


@pytest.mark.parametrize("ram", stack_ram(layout().chip), ids=lambda ram: ram.name)
def test_a_stack_that_begins_at_the_end_of_ram_is_legal(ram: object) -> None:
    end = ram.span.end  # type: ignore[attr-defined]

    assert vectors_are_plausible(with_vectors(end, APP + 9), APP, layout().chip)
    assert not vectors_are_plausible(with_vectors(end + 8, APP + 9), APP, layout().chip)


SP_DO = (
    "expected 8-byte aligned in DTCM 0x20000000..0x2001FFFF, AXI SRAM 0x24000000..0x2407FFFF,"
    " SRAM1-3 0x30000000..0x30047FFF, SRAM4 0x38000000..0x3800FFFF, the end included;"
    " let the vector table come first and check _estack in your linker script"
)
LARGEST = 915_968
MESSAGES = [
    (
        "app.elf",
        make_elf(Segment(0x0800_0000, image(64, 0x0800_0000))),
        "is linked for 0x08000000, app area starts at 0x08100000;"
        " set FLASH ORIGIN in your linker script to 0x08100000",
    ),
    (
        "app.hex",
        write_hex({APP + 0x400: image(64)}),
        "is linked for 0x08100400, app area starts at 0x08100000;"
        " set FLASH ORIGIN in your linker script to 0x08100000",
    ),
    (
        "ram.elf",
        make_elf(Segment(RAM, image(64))),
        "is linked for 0x24000000, app area starts at 0x08100000;"
        " set FLASH ORIGIN in your linker script to 0x08100000",
    ),
    (
        "app.bin",
        with_vectors(0, APP + 9),
        f"initial SP is 0x00000000, {SP_DO}",
    ),
    (
        "app.bin",
        with_vectors(DTCM_END + 8, APP + 9),
        f"initial SP is 0x20020008, {SP_DO}",
    ),
    (
        "app.bin",
        with_vectors(DTCM_END, APP + 8),
        "reset handler is 0x08100008 without Thumb bit, expected an odd address;"
        " mark Reset_Handler as a Thumb function (.thumb_func)",
    ),
    (
        "app.bin",
        with_vectors(DTCM_END, 0x0800_0009),
        "reset handler is 0x08000009, image is 0x08100000..0x0810003F;"
        " set FLASH ORIGIN in your linker script to 0x08100000",
    ),
    (
        "app.bin",
        with_vectors(DTCM_END, APP + 65),
        "reset handler is 0x08100041, image is 0x08100000..0x0810003F;"
        " set FLASH ORIGIN in your linker script to 0x08100000",
    ),
    (
        "app.bin",
        b"1234567",
        "image is 7 bytes, expected at least a vector table; check the build",
    ),
    (
        "app.bin",
        image(LARGEST + 9160),
        "image is 925128 bytes (101.0 % of the largest), this layout takes 915968;"
        " shrink the image by 9160 bytes or enlarge 'app' and 'staging'",
    ),
    (
        "app.hex",
        write_hex({APP: image(64), 0x5200_201C: bytes(4)}),
        "4 bytes at 0x5200201C, app area is 0x08100000..0x081DFFFF;"
        " leave option bytes and other memories out of the file",
    ),
    (
        "app.hex",
        write_hex({APP: image(64), RAM: b"ram!"}),
        "4 bytes at 0x24000000, app area is 0x08100000..0x081DFFFF;"
        " give RAM sections a load address in flash (AT> FLASH)",
    ),
    (
        "app.hex",
        write_hex({APP: image(64), 0x081E_0000: b"mark"}),
        "4 bytes at 0x081E0000, app area is 0x08100000..0x081DFFFF;"
        " keep the program inside the app area",
    ),
    (
        "app.elf",
        make_elf(Segment(APP, image(64)), machine=62),
        "ELF file of 32 bits, EM_X86_64, ET_EXEC, expected a linked program for Arm; give the .elf",
    ),
    (
        "app.o",
        make_elf(Segment(APP, image(64)), kind=1),
        "ELF file of 32 bits, EM_ARM, ET_REL, expected a linked program for Arm; give the .elf",
    ),
    (
        "app.elf",
        make_elf(),
        "ELF file that loads nothing, expected a linked program; build the file again",
    ),
    (
        "app.elf",
        make_elf(Segment(APP, image(64)))[:-1],
        "truncated, 63 of 64 bytes of a segment; build or copy the file again",
    ),
    (
        "app.elf",
        make_elf(Segment(APP, image(64)), Segment(APP + 60, b"again")),
        "two pieces of data at 0x0810003C, expected one; build the file again",
    ),
    ("app.bin", b"", "empty file; make or copy it again"),
    (
        "app.bin",
        bytes(4096 * KIB + 1),
        "larger than 4096 KiB (4194304 bytes), expected a smaller file; check the path",
    ),
    (
        "app.img",
        image(64),
        "neither ELF nor Intel HEX inside, expected an application; name a plain binary .bin",
    ),
    (
        "app.bin",
        update(),
        "is an update or DfuSe file, expected an application; give the .elf, .hex or .bin",
    ),
]


@pytest.mark.parametrize(("name", "data", "message"), MESSAGES, ids=[m[2][:40] for m in MESSAGES])
def test_an_image_that_cannot_run_is_told_so(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    assert problem(tmp_path, name, data) == f"{name}: {message}"


def test_an_image_of_exactly_the_largest_size_is_taken(tmp_path: Path) -> None:
    found = load_image(save(tmp_path, "app.bin", image(LARGEST)), layout())

    assert len(found.data) == layout().largest_image


def test_an_image_that_runs_over_the_app_area_is_too_big(tmp_path: Path) -> None:
    elf = make_elf(Segment(APP, image(900 * KIB)))

    with pytest.raises(ImageError, match="shrink the image by 5632 bytes"):
        load_image(save(tmp_path, "app.elf", elf), layout())


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.elf", tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            load_image(path, layout())
        with pytest.raises(FormatError, match="cannot be read"):
            elf_segments(path)


def test_a_segment_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    elf = bytearray(make_elf(Segment(APP, image(64))))
    elf[52 + 16 : 52 + 20] = (MAX_SEGMENT_SIZE + 1).to_bytes(4, "little")

    assert "segment of 4194305 bytes" in problem(tmp_path, "app.elf", bytes(elf))


def outcome(folder: Path, name: str, data: bytes) -> None:
    """Load the file: either an image or one line of text."""
    try:
        load_image(save(folder, name, data), layout())
    except PackagerError as error:
        if "\n" in str(error):
            raise AssertionError(str(error)) from error


@given(data=st.binary(max_size=400), magic=st.sampled_from([b"", b"\x7fELF", b":", b"DfuSe"]))
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("name", ["app.elf", "app.hex", "app.bin"])
def test_random_files_never_crash_the_reader(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes, magic: bytes
) -> None:
    outcome(tmp_path_factory.getbasetemp(), name, magic + data)


@given(edits=st.lists(st.tuples(st.integers(0, 147), st.integers(0, 255)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_damaged_elf_headers_never_crash_the_reader(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    elf = bytearray(make_elf(Segment(APP, image(64)), Segment(APP + 64, b"rest", type=1)))
    for at, value in edits:
        elf[at] = value

    outcome(tmp_path_factory.getbasetemp(), "app.elf", bytes(elf))


@given(at=st.integers(0, 200), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_damaged_hex_never_gives_other_bytes(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    text = bytearray(write_hex({APP: image(64)}))
    text[at] = value
    path = save(tmp_path_factory.getbasetemp(), "app.hex", bytes(text))

    try:
        found = load_image(path, layout()).data
    except PackagerError as error:
        if "\n" in str(error):
            raise AssertionError(str(error)) from error
    else:
        assert found == image(64)  # case of a digit, or white space at the end of a line
