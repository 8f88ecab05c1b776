from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.chip import KIB, Span
from packager.dfu.memory_map import Access, MemoryMap, Segment, parse_memory_map
from packager.errors import DeviceError

ALL = Access.READ | Access.ERASE | Access.WRITE


def test_the_name_of_the_h743_rom_is_sixteen_sectors_with_every_right() -> None:
    read = parse_memory_map("@Internal Flash   /0x08000000/16*128Kg")
    assert read == MemoryMap("Internal Flash", (Segment(0x08000000, 16, 128 * KIB, ALL),))


@pytest.mark.parametrize(
    "text",
    ["@Option Bytes   /0x5200201C/01*128 e", "@ X / 0x5200201C / 1 * 128e", "@/0x5200201c/1*128Be"],
)
def test_a_missing_unit_and_stray_spaces_are_read_liberally(text: str) -> None:
    assert parse_memory_map(text).segments == (Segment(0x5200201C, 1, 128, Access(5)),)


def test_segments_of_different_sizes_follow_each_other() -> None:
    read = parse_memory_map("@Flash/0x08000000/04*016Kg,01*064Kg,07*128Kg/0x1FFF7800/01*512 e")
    assert [segment.start for segment in read.segments] == [
        0x08000000,
        0x08010000,
        0x08020000,
        0x1FFF7800,
    ]


@pytest.mark.parametrize(
    ("letter", "access"),
    [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("f", 6), ("g", 7), ("G", 7)],
)
def test_the_letter_gives_the_rights(letter: str, access: int) -> None:
    assert parse_memory_map(f"@F/0x0/1*1K{letter}").segments[0].access == access


def test_rights_are_asked_for_every_address_of_a_span() -> None:
    memory = parse_memory_map("@F/0x0/02*001Kg,01*001Ka")
    assert memory.allows(Span(0, 2048), Access.WRITE)
    assert not memory.allows(Span(0, 2049), Access.WRITE)
    assert not memory.allows(Span(4096, 1), Access.READ)


@pytest.mark.parametrize(
    "text",
    ["", "Flash", "@", "@F", "@F/0x0", "@F/0x0/", "@F/8/1*1Kg", "@F/0x0/0*1Kg", "@F/0x0/1*1Kh",
     "@F/0xFFFFFFFF/1*1Kg", "@F/0x0/1*1Kg/", "@F/0x123456789/1*1Kg", "@F/0x0/\u0661*1Kg"],
)  # fmt: skip
def test_other_text_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(DeviceError, match="memory map"):
        parse_memory_map(text)


GRAMMAR = st.text(alphabet="@/0x123489ABKMabcdefg*, ", max_size=60)


@given(st.one_of(st.text(max_size=80), GRAMMAR, GRAMMAR.map(lambda text: "@F/0x0/" + text)))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        memory = parse_memory_map(text)
    except DeviceError:
        return
    assert all(segment.span.end <= 1 << 32 for segment in memory.segments)


SEGMENTS = st.builds(
    Segment,
    st.integers(0, 0x8000_0000),
    st.integers(1, 64),
    st.integers(1, 999),
    st.sampled_from([Access(n) for n in range(1, 8)]),
)


@given(st.lists(SEGMENTS, min_size=1, max_size=5))
def test_what_is_written_reads_back(segments: list[Segment]) -> None:
    memory = MemoryMap("Any Name", tuple(segments))
    assert parse_memory_map(memory.text()) == memory
