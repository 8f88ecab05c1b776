"""What a protected device shows: its updates in cipher and who it is, never application or keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import workshop
from workshop import Workshop

from packager.chip import SECTOR_SIZE
from packager.dfu.constants import Command, State, Status
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import RequestRefusedError
from packager.dfu.target import INFO_ADDRESS
from packager.dfu.usb import open_device
from packager.errors import ProtectedError
from packager.format import INFO_MAGIC, INFO_SIZE
from packager.keys import load_device_keys
from packager.sim.board import Board, Outcome
from packager.sim.usb import Stall
from packager.virtual_door import start_in_dfu

OPTION_BYTES = 0x5200_201C
ASKED_BY_CUBEPROGRAMMER = 308
IN, OUT, STANDARD_IN = 0xA1, 0x21, 0x80
DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, ABORT = 1, 2, 3, 4, 6


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The protected product."""
    tool = workshop.needs("gcc")
    layout = workshop.layout_named("h743_protected")
    return workshop.make_workshop(tmp_path_factory.mktemp("leaks"), layout, tool)


@pytest.fixture
def board(shop: Workshop) -> Iterator[Board]:
    """Its device in the loader's own DFU, at level 1."""
    board = shop.board(shop.image(3000))
    board.protect(1)
    start_in_dfu(board, "board")
    yield board
    board.power_off()


@pytest.fixture
def device(board: Board) -> Iterator[DfuSe]:
    with open_device(backend=board.usb_backend(), clock=board.clock, name="board") as client:
        yield client


def every_place(shop: Workshop) -> Iterator[int]:
    """The whole loader but its info block, application area and beyond, RAM, system memory."""
    loader = shop.layout.loader
    for address in range(loader.start, loader.start + shop.loader.size, 256):
        if not INFO_ADDRESS <= address < INFO_ADDRESS + INFO_SIZE:
            yield address
    yield loader.end - 32
    yield from range(shop.layout.app.start, shop.layout.app.end, SECTOR_SIZE)
    yield from (0x0, 0x2000_0000, 0x2400_0000, 0x3800_0000, 0x1FF0_0000, 0x0820_0000, 0xFFFF_FFE0)


def test_the_loader_reads_out_nothing_but_its_windows(shop: Workshop, device: DfuSe) -> None:
    for address in every_place(shop):
        with pytest.raises(RequestRefusedError):
            device.upload(address, 32)


def test_a_read_that_begins_in_a_window_ends_with_it(shop: Workshop, device: DfuSe) -> None:
    windows = (
        (INFO_ADDRESS, INFO_SIZE),
        (shop.layout.staging.start, shop.layout.staging.size),
        (shop.layout.marks.start, shop.layout.marks.size),
    )
    for start, size in windows:
        with pytest.raises(RequestRefusedError, match="32 bytes came back"):
            device.upload(start + size - 32, 64)


def test_no_block_number_leads_from_staging_to_anywhere_else(shop: Workshop, board: Board) -> None:
    usb = board.device
    assert usb is not None
    staging = shop.layout.staging
    first = staging.size // 1024 + 2
    for block in (first, first + 1, 0x1000, 0x7FFF, 0xFFFF):
        with pytest.raises(Stall):
            usb.control(IN, UPLOAD, block, 0, 1024)
        assert usb.control(IN, GETSTATUS, 0, 0, 6)[0] == Status.ERR_ADDRESS
        usb.control(OUT, CLRSTATUS, 0, 0, b"")


@pytest.mark.parametrize("level", [1, 2])
def test_rom_and_debugger_read_nothing(shop: Workshop, level: int) -> None:
    board = shop.board(shop.image(3000))
    board.protect(level)

    board.boot(boot0=True)
    assert (board.rom is None) == (level == 2)
    if board.rom is not None:
        with (
            open_device(backend=board.usb_backend(), clock=board.clock) as rom,
            pytest.raises(ProtectedError),
        ):
            rom.upload(shop.layout.app.start, 32)
    for address in (shop.layout.loader.start, shop.layout.app.start):
        with pytest.raises(ProtectedError), board.debugger() as debugger:
            debugger.read(address, 32)


def test_the_way_back_to_level_0_leaves_neither_keys_nor_application(
    shop: Workshop, board: Board
) -> None:
    board.protect(0)

    for area in (shop.layout.loader, shop.layout.app):
        assert board.read(area.start, area.size) == b"\xff" * area.size


def test_what_cubeprogrammer_asks_gets_answers_that_let_it_go_on(
    shop: Workshop, board: Board
) -> None:
    """Recorded habits of DfuSe hosts; the program itself is closed and was not run here."""
    usb = board.device
    assert usb is not None

    for _ in range(2):  # it reads all descriptors again when one clicks Connect
        described = usb.control(STANDARD_IN, 6, 0x0100, 0, 18)
        assert described[8:12] == bytes.fromhex("830411df")
        whole = usb.control(STANDARD_IN, 6, 0x0200, 0, 255)
        assert int.from_bytes(whole[2:4], "little") == len(whole)
        for index in range(5):
            assert usb.control(STANDARD_IN, 6, 0x0300 | index, 0x0409, 255)[1] == 3
    assert usb.control(IN, UPLOAD, 0, 0, 64)[0] == Command.GET
    usb.control(OUT, ABORT, 0, 0, b"")
    usb.control(OUT, DNLOAD, 0, 0, bytes([Command.SET_ADDRESS]) + _little(OPTION_BYTES))
    while usb.control(IN, GETSTATUS, 0, 0, 6)[4] == State.DFU_DNBUSY:
        board.clock.sleep(0.01)
    usb.control(OUT, ABORT, 0, 0, b"")
    options = usb.control(IN, UPLOAD, 2, 0, ASKED_BY_CUBEPROGRAMMER)
    assert options[1] == 0x55  # its RDP byte, and no more than that word
    assert len(options) == 4
    usb.control(OUT, ABORT, 0, 0, b"")
    assert usb.control(IN, GETSTATUS, 0, 0, 6)[4] == State.DFU_IDLE


def test_read_unprotect_does_nothing_and_says_so(shop: Workshop, board: Board) -> None:
    usb = board.device
    assert usb is not None
    before = board.read(shop.layout.app.start, 3000)

    usb.control(OUT, DNLOAD, 0, 0, bytes([Command.READ_UNPROTECT]))
    while (reply := usb.control(IN, GETSTATUS, 0, 0, 6))[4] == State.DFU_DNBUSY:
        board.clock.sleep(0.01)

    assert reply[0] == Status.ERR_VENDOR
    assert board.flash.options.rdp_level == 1
    assert board.read(shop.layout.app.start, 3000) == before


def test_ram_over_swd_at_level_1_holds_no_key_while_the_device_waits_on_usb(
    shop: Workshop, board: Board
) -> None:
    """At level 1 a probe reads RAM: the loader wiped what it had before it opened USB."""
    secrets = [key.secret for key in load_device_keys(shop.keys)]

    with board.debugger() as debugger:
        content = b"".join(debugger.read(ram.span.start, ram.span.size) for ram in board.chip.ram)

    assert INFO_MAGIC in content  # it is the RAM of the loader that runs
    assert secrets
    assert not any(secret in content for secret in secrets)


def _little(address: int) -> bytes:
    return address.to_bytes(4, "little")


def test_the_device_stays_where_it_is_through_all_of_this(board: Board) -> None:
    assert board.go_on(limit_seconds=1.0).outcome is Outcome.STAYS_IN_DFU
