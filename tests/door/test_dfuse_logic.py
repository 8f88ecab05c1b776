"""The loader's DfuSe, without chip and controller: states, errors, windows, descriptors."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import workshop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager import loader_parts
from packager.dfu.constants import Command, Request, State, Status
from packager.dfu.memory_map import Access, parse_memory_map
from packager.dfu.protocol import DfuSe
from packager.dfu.staging import prepare_drop, run_plan
from packager.format import Recovery
from packager.keys import keygen, load_recipients, load_signing_key
from packager.layout import Entry, Layout, Usb, load_layout
from packager.records import build_info
from packager.resources import layouts
from packager.update import build_update

from .host_door import HostDoor, build_door

STAGING = 0x0802_0000
END = 0x0810_0000
INFO = 0x0800_0400
OPTIONS = 0x5200_201C
ERASED = b"\xff" * 32


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_door(tmp_path_factory.mktemp("door") / "door.so")


@pytest.fixture(scope="session")
def layout() -> Layout:
    found = load_layout(layouts() / f"{workshop.DEFAULT}.yaml")
    usb = Usb(0x1209, 0x0001, "a maker", "a product", option_bytes_are_readable=True)
    entry = Entry(("C", 13), True, True, 3)
    return dataclasses.replace(found, recovery=Recovery.DFU, entry=entry, usb=usb)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    keygen(folder)
    return folder


@pytest.fixture(scope="session")
def info(layout: Layout, keys: Path) -> bytes:
    held = loader_parts.load_loader_keys(keys)
    return build_info(loader_parts.describe(layout, held.ids, dev=False))


@pytest.fixture
def door(library: Path, info: bytes) -> Iterator[HostDoor]:
    made = HostDoor(library, info)
    yield made
    assert made.state.broken == 0


def status(door: HostDoor) -> tuple[Status, State, int]:
    answer = door.control(0xA1, Request.GETSTATUS, length=6)
    assert answer is not None
    return Status(answer[0]), State(answer[4]), int.from_bytes(answer[1:4], "little")


def download(door: HostDoor, block: int, data: bytes) -> bool:
    return door.control(0x21, Request.DNLOAD, block, 0, len(data), data) is not None


def finish(door: HostDoor) -> Status:
    """Poll as dfu-util does: the first answer must be dfuDNBUSY."""
    found, state, poll = status(door)
    assert (found, state) == (Status.OK, State.DFU_DNBUSY)
    for _ in range(1000):
        door.work(max(poll, 1))
        found, state, poll = status(door)
        if state is not State.DFU_DNBUSY:
            break
    expected = State.DFU_DNLOAD_IDLE if found is Status.OK else State.DFU_ERROR
    assert (state, poll) == (expected, 0)
    return found


def command(door: HostDoor, code: int, address: int | None = None) -> Status:
    tail = b"" if address is None else address.to_bytes(4, "little")
    assert download(door, 0, bytes((code,)) + tail)
    return finish(door)


def upload(door: HostDoor, address: int, size: int) -> bytes | None:
    assert door.control(0x21, Request.CLRSTATUS) is not None
    assert command(door, Command.SET_ADDRESS, address) is Status.OK
    assert door.control(0x21, Request.ABORT) is not None
    return door.control(0xA1, Request.UPLOAD, 2, 0, size)


# -- descriptors ----------------------------------------------------------------------------------


def text(door: HostDoor, number: int) -> str:
    raw = door.control(0x80, 6, 0x300 | number, 0x409, 255)
    assert raw is not None
    assert (raw[0], raw[1]) == (len(raw), 3)
    return raw[2:].decode("utf-16-le")


def test_the_device_descriptor_carries_the_ids_of_the_layout(door: HostDoor) -> None:
    raw = door.control(0x80, 6, 0x100, 0, 64)
    assert raw is not None
    fields = struct.unpack("<BBHBBBBHHHBBBB", raw)
    assert fields == (18, 1, 0x0210, 0, 0, 0, 64, 0x1209, 1, 0x5346, 1, 2, 3, 1)
    assert door.control(0x80, 6, 0x100, 0, 8) == raw[:8]


def test_the_configuration_has_two_alternates_and_the_functional_descriptor_of_the_rom(
    door: HostDoor,
) -> None:
    raw = door.control(0x80, 6, 0x200, 0, 255)
    assert raw is not None
    assert raw[:9] == struct.pack("<BBHBBBBB", 9, 2, len(raw), 1, 1, 0, 0xC0, 50)
    for alternate in (0, 1):
        at = 9 + 9 * alternate
        assert raw[at : at + 9] == bytes((9, 4, 0, alternate, 0, 0xFE, 1, 2, 4 + alternate))
    assert raw[27:] == bytes.fromhex("09210bff0000041a01")
    assert door.control(0x81, 6, 0x2100, 0, 9) == raw[27:]


def test_the_strings_are_those_of_layout_and_chip(door: HostDoor) -> None:
    assert door.control(0x80, 6, 0x300, 0, 255) == bytes((4, 3, 9, 4))
    assert text(door, 1) == "a maker"
    assert text(door, 2) == "a product"
    assert text(door, 3) == "003200413038511138323934"
    assert text(door, 5) == "@Option Bytes   /0x5200201C/01*128 a"
    assert door.control(0x80, 6, 0x306, 0x409, 255) is None


def test_the_memory_it_offers_is_staging_alone(door: HostDoor) -> None:
    assert text(door, 4) == "@Internal Flash   /0x08020000/07*128Kg"
    (segment,) = parse_memory_map(text(door, 4)).segments
    assert (segment.span.start, segment.span.end) == (STAGING, END)
    assert segment.access == Access.READ | Access.ERASE | Access.WRITE


def test_windows_finds_winusb_by_itself(door: HostDoor) -> None:
    bos = door.control(0x80, 6, 0x0F00, 0, 255)
    assert bos is not None
    assert struct.unpack("<BBHB", bos[:5]) == (5, 15, len(bos), 1)
    uuid = bytes.fromhex("df60ddd88945c74c9cd2659d9e648a9f")
    assert bos[5:] == bytes((28, 16, 5, 0)) + uuid + struct.pack("<IHBB", 0x06030000, 162, 0x53, 0)
    found = door.control(0xC0, 0x53, 0, 7, 4096)
    assert found is not None
    assert struct.unpack("<HHIH", found[:10]) == (10, 0, 0x06030000, len(found))
    assert found[10:30] == struct.pack("<HH8s8s", 20, 3, b"WINUSB", b"")
    size, kind, data_type, name_size = struct.unpack("<HHHH", found[30:38])
    assert (size, kind, data_type) == (len(found) - 30, 4, 7)
    name = found[38 : 38 + name_size].decode("utf-16-le")
    assert name == "DeviceInterfaceGUIDs\0"
    guids = found[40 + name_size :]
    assert int.from_bytes(found[38 + name_size : 40 + name_size], "little") == len(guids)
    assert guids.decode("utf-16-le").endswith("}\0\0")
    assert door.control(0xC0, 0x53, 0, 4, 4096) is None


def test_without_the_second_alternate_there_is_none(library: Path, info: bytes) -> None:
    at = 224 + 16
    door = HostDoor(library, info[:at] + bytes(4) + info[at + 4 :])
    raw = door.control(0x80, 6, 0x200, 0, 255)
    assert raw is not None
    assert len(raw) == 27
    assert door.control(0x01, 11, 1) is None
    assert upload(door, OPTIONS, 308) == struct.pack("<I", 0x1406AAD0)


def test_standard_requests(door: HostDoor) -> None:
    assert door.control(0x00, 5, 42) == b""
    assert door.state.usb_address == 42
    assert door.control(0x00, 5, 128) is None
    assert door.control(0x80, 0, length=2) == b"\1\0"
    assert door.control(0x81, 0, length=2) == b"\0\0"
    assert door.control(0x80, 8, length=1) == b"\0"
    assert door.control(0x00, 9, 1) == b""
    assert door.control(0x80, 8, length=1) == b"\1"
    assert door.control(0x00, 9, 2) is None
    for alternate in (1, 0, 0, 1):
        assert door.control(0x01, 11, alternate) == b""
        assert door.control(0x81, 10, length=1) == bytes((alternate,))
    assert door.control(0x01, 11, 2) is None
    assert door.control(0x02, 1, 0) == b""
    assert door.control(0x00, 3, 1) is None
    assert door.control(0x80, 6, 0x0600, 0, 10) is None


# -- what hosts do --------------------------------------------------------------------------------


def test_dfu_util_writes_a_raw_file_and_leaves(door: HostDoor) -> None:
    data = random.Random(1).randbytes(130 * 1024 + 905)
    door.put(STAGING, bytes(4096))
    door.state.turns_of_an_operation = 3
    assert door.control(0x01, 11, 0) == b""
    assert status(door)[:2] == (Status.OK, State.DFU_IDLE)
    for sector in range(0, len(data), 128 * 1024):
        assert command(door, Command.ERASE, STAGING + sector) is Status.OK
    for at in range(0, len(data), 1024):
        assert command(door, Command.SET_ADDRESS, STAGING + at) is Status.OK
        assert download(door, 2, data[at : at + 1024])
        assert finish(door) is Status.OK
    assert door.control(0x21, Request.ABORT) is not None
    assert status(door)[:2] == (Status.OK, State.DFU_IDLE)
    assert door.read(STAGING, len(data)) == data
    assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
    assert not door.is_leaving
    assert download(door, 2, b"")
    assert not door.is_leaving
    assert status(door)[:2] == (Status.OK, State.DFU_MANIFEST)
    assert door.is_leaving


def test_sequential_blocks_and_a_short_last_one(door: HostDoor) -> None:
    data = random.Random(2).randbytes(5001)
    assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
    for number in range(5):
        assert download(door, 2 + number, data[1024 * number :][:1024])
        assert finish(door) is Status.OK
    assert door.read(STAGING, 5024) == data + b"\xff" * 23
    assert door.control(0x21, Request.ABORT) is not None
    found = b""
    for number in range(5):
        found += (
            door.control(0xA1, Request.UPLOAD, 2 + number, 0, min(1024, 5001 - 1024 * number))
            or b""
        )
    assert found == data


def test_the_projects_own_client_drops_a_file(
    door: HostDoor, layout: Layout, keys: Path, info: bytes
) -> None:
    signing, recipients = load_signing_key(keys), load_recipients(keys)
    image = workshop.image_for(layout, 200_000)
    update = build_update(image, layout, signing, recipients, 0x0100_0000, 1)
    door.put(INFO, info)
    door.put(STAGING + 300, b"left over")
    door.state.turns_of_an_operation = 2
    device = DfuSe(door, door, memory_map=parse_memory_map(text(door, 4)))
    with device:
        run_plan(prepare_drop(update, device, layout), device)
        assert device.upload(INFO, 512) == info
        device.leave(0x0800_0000)
    assert door.read(STAGING, len(update)) == update
    assert door.is_leaving


def test_an_erase_address_inside_a_sector_is_rounded_down(door: HostDoor) -> None:
    assert command(door, Command.ERASE, STAGING + 0x2_0000 + 12345) is Status.OK
    assert door.state.last_erased == STAGING + 0x2_0000


def test_a_mass_erase_is_one_of_staging_alone(door: HostDoor) -> None:
    for address in (STAGING - 32, STAGING, END - 32, END):
        door.put(address, bytes(32))
    door.state.turns_of_an_operation = 3
    assert command(door, Command.ERASE) is Status.OK
    assert door.state.erases == 7
    assert door.read(STAGING, END - STAGING) == b"\xff" * (END - STAGING)
    assert door.read(STAGING - 32, 32) == door.read(END, 32) == bytes(32)


def test_read_unprotect_does_nothing_and_says_so(door: HostDoor) -> None:
    assert command(door, Command.READ_UNPROTECT) is Status.ERR_VENDOR
    assert door.state.erases == 0


def test_what_can_be_asked_for(door: HostDoor) -> None:
    assert door.control(0xA1, Request.UPLOAD, 0, 0, 255) == bytes((0x00, 0x21, 0x41))
    assert door.control(0xA1, Request.GETSTATE, length=1) == bytes((State.DFU_UPLOAD_IDLE,))
    assert door.control(0x21, Request.ABORT) is not None


# -- answers to mistakes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", [STAGING - 1, END, 0x0800_0000, 0x081E_0000, OPTIONS, 0x2000_0000, 0xFFFF_FFFF]
)
def test_nothing_is_erased_outside_staging(door: HostDoor, address: int) -> None:
    assert command(door, Command.ERASE, address) is Status.ERR_ADDRESS
    assert door.state.erases == 0
    assert status(door)[:2] == (Status.ERR_ADDRESS, State.DFU_ERROR)
    assert door.control(0x21, Request.CLRSTATUS) is not None
    assert status(door)[:2] == (Status.OK, State.DFU_IDLE)


@pytest.mark.parametrize(
    "address", [STAGING - 1024, END - 992, 0x0800_0400, 0x081E_0000, STAGING + 4]
)
def test_nothing_is_written_outside_staging_or_across_words(door: HostDoor, address: int) -> None:
    assert command(door, Command.SET_ADDRESS, address) is Status.OK
    assert download(door, 2, bytes(1024))
    assert finish(door) is Status.ERR_ADDRESS
    assert door.state.programs == 0


@pytest.mark.parametrize("address", [0x07FF_FFFF, 0x0820_0000, 0x1FF1_E7FE, 0x2000_0000, 0])
def test_a_place_that_is_none_is_no_address(door: HostDoor, address: int) -> None:
    assert command(door, Command.SET_ADDRESS, address) is Status.ERR_TARGET


@pytest.mark.parametrize(
    "address",
    [0x0800_0000, INFO - 4, INFO + 512, 0x0800_0600, STAGING - 4, END, 0x0810_0000, 0x081D_FC00],
)
def test_loader_keys_and_app_cannot_be_read(door: HostDoor, address: int) -> None:
    assert upload(door, address, 1024) is None
    assert status(door)[:2] == (Status.ERR_ADDRESS, State.DFU_ERROR)


def test_a_read_ends_where_its_window_ends(door: HostDoor, info: bytes) -> None:
    door.put(INFO, info)
    assert upload(door, INFO, 1024) == info
    assert upload(door, END - 32, 64) == ERASED
    assert upload(door, 0x081F_FFE0, 64) == ERASED
    assert len(upload(door, OPTIONS, 1024) or b"") == 308
    assert upload(door, OPTIONS, 308) == struct.pack(
        "<77I", 0x1406AAD0, *range(OPTIONS + 4, OPTIONS + 308, 4)
    )


def test_a_word_takes_one_writing(door: HostDoor) -> None:
    data = random.Random(4).randbytes(96)
    for expected, written in ((Status.OK, data), (Status.OK, data)):
        assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
        assert download(door, 2, written)
        assert finish(door) is expected
    assert door.state.programs == 3
    assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
    assert download(door, 2, data[:64] + bytes(32))
    assert finish(door) is Status.ERR_CHECK_ERASED
    assert door.state.programs == 3


def test_words_of_ones_are_left_blank(door: HostDoor) -> None:
    assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
    assert download(door, 2, b"\xff" * 1024)
    assert finish(door) is Status.OK
    assert door.state.programs == 0


@pytest.mark.parametrize("how", [1, 2], ids=["repaired", "unreadable"])
def test_a_torn_word_wants_an_erase(door: HostDoor, how: int) -> None:
    door.make_sick(STAGING + 64, how)
    assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
    assert download(door, 2, bytes(96))
    assert finish(door) is Status.ERR_CHECK_ERASED
    assert (upload(door, STAGING, 1024) is None) == (how == 2)
    if how == 2:
        assert status(door)[:2] == (Status.ERR_VERIFY, State.DFU_ERROR)
    assert door.control(0x21, Request.CLRSTATUS) is not None
    assert command(door, Command.ERASE, STAGING) is Status.OK
    assert upload(door, STAGING, 32) == ERASED


@pytest.mark.parametrize(
    ("fault", "erase", "write"),
    [
        ("operations_fail", Status.ERR_ERASE, Status.ERR_PROG),
        ("supply_is_low", Status.ERR_WRITE, Status.ERR_WRITE),
        ("programs_go_wrong", Status.OK, Status.ERR_VERIFY),
    ],
)
def test_faults_of_the_chip_are_told(
    door: HostDoor, fault: str, erase: Status, write: Status
) -> None:
    setattr(door.state, fault, 1)
    assert command(door, Command.ERASE, STAGING) is erase
    door.control(0x21, Request.CLRSTATUS)
    assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
    assert download(door, 2, bytes(1024))
    assert finish(door) is write


@pytest.mark.parametrize(
    ("kind", "request_", "value", "length"),
    [
        (0x21, Request.DNLOAD, 1, 64),
        (0x21, Request.DNLOAD, 2, 1025),
        (0x21, Request.DNLOAD, 0, 4),
        (0x21, Request.DETACH, 1000, 0),
        (0x21, 9, 0, 0),
        (0xA1, Request.UPLOAD, 1, 64),
        (0xA1, Request.UPLOAD, 2, 1025),
        (0xA1, 7, 0, 6),
    ],
)
def test_a_request_that_makes_no_sense_is_stalled_and_forgiven(
    door: HostDoor, kind: int, request_: int, value: int, length: int
) -> None:
    assert door.control(kind, request_, value, 0, length) is None
    assert status(door)[:2] == (Status.ERR_STALLEDPKT, State.DFU_ERROR)
    assert door.control(0x21, Request.ABORT) is None
    assert door.control(0x21, Request.CLRSTATUS) is not None
    assert status(door)[:2] == (Status.OK, State.DFU_IDLE)


def test_other_interfaces_are_nobodys(door: HostDoor) -> None:
    assert door.control(0xA1, Request.GETSTATUS, 0, 1, 6) is None
    assert status(door)[:2] == (Status.OK, State.DFU_IDLE)


# -- time -----------------------------------------------------------------------------------------


def test_status_is_answered_while_an_erase_runs(door: HostDoor) -> None:
    door.state.turns_of_an_operation = 50
    assert download(door, 0, bytes((Command.ERASE,)) + STAGING.to_bytes(4, "little"))
    door.work(10)
    assert door.state.erases == 0, "the host does not know yet"
    assert status(door) == (Status.OK, State.DFU_DNBUSY, 1000)
    assert door.state.erases == 1
    for _ in range(3):
        assert status(door) == (Status.OK, State.DFU_DNBUSY, 50)
    assert door.control(0x21, Request.DNLOAD, 2, 0, 32, bytes(32)) is None
    assert door.control(0x21, Request.ABORT) is None
    assert door.control(0x21, Request.CLRSTATUS) is None
    assert door.control(0x80, 6, 0x100, 0, 18) is not None
    door.work(60)
    assert status(door) == (Status.OK, State.DFU_DNLOAD_IDLE, 0)


def test_an_answer_that_did_not_arrive_begins_nothing(door: HostDoor) -> None:
    assert download(door, 0, bytes((Command.ERASE,)) + STAGING.to_bytes(4, "little"))
    door.control(0xA1, Request.GETSTATUS, length=6, finished=False)
    door.work(100)
    assert door.state.erases == 0
    assert finish(door) is Status.OK
    assert door.state.erases == 1


@pytest.mark.parametrize("how", ["bus reset", "a new host"])
def test_a_new_beginning_during_an_erase(door: HostDoor, how: str) -> None:
    door.state.turns_of_an_operation = 50
    assert download(door, 0, bytes((Command.ERASE,)))
    assert status(door)[1] is State.DFU_DNBUSY
    if how == "bus reset":
        door.bus_reset()
    else:
        assert door.control(0x01, 11, 0) == b""
    assert status(door)[:2] == (Status.OK, State.DFU_IDLE)
    assert door.control(0xA1, Request.UPLOAD, 2, 0, 64) is None, "the bank is busy"
    assert status(door)[:2] == (Status.ERR_NOTDONE, State.DFU_ERROR)
    assert door.control(0x21, Request.CLRSTATUS) is not None
    assert command(door, Command.ERASE, STAGING + 0x4_0000) is Status.OK
    assert door.state.erases == 2, "the rest of the mass erase was dropped"


def test_a_write_is_announced_with_the_time_it_takes(door: HostDoor) -> None:
    for size, expected in ((1024, 5), (512, 3), (32, 1)):
        assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
        assert download(door, 2, b"\xff" * size)
        assert status(door) == (Status.OK, State.DFU_DNBUSY, expected)
        door.work(40)
        assert status(door)[1] is State.DFU_DNLOAD_IDLE


def test_data_cut_off_by_an_unplugged_cable_change_nothing(door: HostDoor) -> None:
    assert command(door, Command.SET_ADDRESS, STAGING) is Status.OK
    for arrived in (0, 1, 63, 64, 1000):
        assert door.control(0x21, 1, 2, 0, 1024, bytes(1024), arrived=arrived) is None
        door.bus_reset()
        door.work(100)
        assert status(door)[:2] == (Status.OK, State.DFU_IDLE)
    assert door.state.programs == 0


# -- anything -------------------------------------------------------------------------------------

transfers = st.lists(
    st.tuples(
        st.sampled_from([0x21, 0xA1, 0x00, 0x80, 0x01, 0x81, 0xC0]),
        st.integers(0, 12),
        st.one_of(st.integers(0, 6), st.integers(0, 0xFFFF)),
        st.sampled_from([0, 0, 0, 0, 1, 7]),
        st.one_of(st.sampled_from([0, 1, 5, 6, 32, 64, 1024, 1025]), st.integers(0, 0xFFFF)),
        st.one_of(
            st.binary(max_size=8),
            st.builds(
                lambda code, address: bytes((code,)) + address.to_bytes(4, "little"),
                st.sampled_from([0x21, 0x41, 0x92, 0x00]),
                st.sampled_from([STAGING, END - 32, END, 0x0800_0400, 0x0800_0600, 0x081E_0000]),
            ),
        ),
        st.booleans(),
    ),
    max_size=25,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=transfers)
def test_no_sequence_of_transfers_breaks_a_rule(library: Path, info: bytes, sent: list) -> None:  # type: ignore[type-arg]
    door = HostDoor(library, info)
    door.state.turns_of_an_operation = 3
    for kind, request, value, index, length, data, finished in sent:
        answer = door.control(kind, request, value, index, length, data[:length], finished=finished)
        assert answer is None or len(answer) <= length
        door.work(2)
        if request == Request.GETSTATUS and kind == 0xA1 and index == 0 and length:
            assert answer is not None
    assert door.state.broken == 0


def test_a_hundred_thousand_transfers_leave_every_rule_whole(tmp_path: Path) -> None:
    rounds = int(os.environ.get("SPLITFLASH_DOOR_ROUNDS", "400"))
    fuzzer = ctypes.CDLL(str(build_door(tmp_path / "fuzz.so", fuzzer=True)))
    noise = random.Random(5)
    for _ in range(rounds):
        steps = noise.randbytes(10 * 400)
        fuzzer.LLVMFuzzerTestOneInput(steps, len(steps))
    assert fuzzer.fuzz_transfers() >= 250 * rounds
