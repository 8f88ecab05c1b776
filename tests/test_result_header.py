"""What an application gets to read the result record: the exported header, compiled and called."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from host.build import compiler

from packager.examples import build_example
from packager.export import HEADER_FILE as HEADER
from packager.export import export_layout
from packager.export.c_header import c_header
from packager.layout import Layout, load_layout
from packager.reasons import Reason
from packager.records import Action, ResultRecord, build_result
from packager.resources import layouts
from packager.toolchain import NAMES, WARNINGS, installed

PROBE = f"""\
#include "{HEADER}"

const void *probe(const void *place);

const void *
probe(const void *place)
{{
    return splitflash_check_result(place);
}}
"""
RECORD = ResultRecord(0x01000002, Action.REFUSED, Reason.SIGNATURE, 0x02000000, 7, 0x00FE0000)


def layout() -> Layout:
    return load_layout(layouts() / "h743zi_app_bank2.yaml")


@pytest.fixture(scope="module")
def accepts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], bool]:
    """Return the header's own check, compiled for this machine with every warning an error."""
    command = compiler()
    if command is None:
        pytest.skip("no compiler for this machine")
    folder = tmp_path_factory.mktemp("header")
    export_layout(layout(), folder)
    (folder / "probe.c").write_text(PROBE)
    library = folder / "probe.so"
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", *WARNINGS]
    done = subprocess.run(
        [*command, *flags, str(folder / "probe.c"), "-o", str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    probe = ctypes.CDLL(str(library)).probe
    probe.argtypes, probe.restype = [ctypes.c_void_p], ctypes.c_void_p

    def check(record: bytes) -> bool:
        place = ctypes.create_string_buffer(record, len(record))
        found = probe(ctypes.addressof(place))
        assert found in (None, ctypes.addressof(place))
        return found is not None

    return check


def test_an_application_believes_a_whole_record(accepts: Callable[[bytes], bool]) -> None:
    assert accepts(build_result(RECORD))


def test_an_application_believes_no_record_with_a_wrong_bit(
    accepts: Callable[[bytes], bool],
) -> None:
    record = bytearray(build_result(RECORD))
    for bit in range(len(record) * 8):
        record[bit // 8] ^= 1 << bit % 8
        assert not accepts(bytes(record)), bit
        record[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("content", [bytes(64), b"\xff" * 64])
def test_an_application_finds_no_record_in_untouched_ram(
    accepts: Callable[[bytes], bool], content: bytes
) -> None:
    assert not accepts(content)


def test_a_record_of_something_else_with_a_right_checksum_is_none(
    accepts: Callable[[bytes], bool],
) -> None:
    body = b"OTHERREC" + build_result(RECORD)[8:60]

    assert not accepts(body + ctypes.c_uint32(crc32(body)).value.to_bytes(4, "little"))


def crc32(data: bytes) -> int:
    """Return the CRC-32 of IEEE 802.3, bit by bit."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB8_8320 if crc & 1 else 0)
    return ~crc & 0xFFFF_FFFF


def test_the_header_has_no_conditions_but_its_include_guard() -> None:
    directives = re.findall(r"^ *# *(if\w*|el\w+|endif)", c_header(layout()), re.MULTILINE)

    assert directives == ["ifndef", "endif"]


@pytest.mark.parametrize("action", Action)
def test_an_application_gets_every_action_with_a_sentence(action: Action) -> None:
    pattern = rf"^    // \w.{{10,}}\n    SPLITFLASH_ACTION_{action.name} = {action.value},$"

    assert re.search(pattern, c_header(layout()), re.MULTILINE)


@pytest.mark.parametrize("tool", NAMES)
def test_the_example_application_builds_with_the_header(tmp_path: Path, tool: str) -> None:
    if tool not in installed():
        pytest.skip(f"toolchain {tool} is not installed")

    assert build_example("2.0.0", layout(), tmp_path, tool).exists()
