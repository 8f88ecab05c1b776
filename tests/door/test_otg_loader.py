"""The shipped loader on USB: what it says it is, a drop, and hosts that do not behave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import usb.core
import usb.util
import workshop

from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.usb import open_device
from packager.sim.board import Board, Outcome
from packager.sim.cells import Word
from packager.sim.core_usb import CoreUsb
from packager.sim.usb import Gone, Hung, Stall

from .otg_scene import (
    BUSY,
    DNLOAD,
    DNLOAD_IDLE,
    ERROR,
    GETSTATUS,
    IDLE,
    IN,
    LAYOUT,
    MANIFEST,
    OUT,
    SYNC,
    UPLOAD,
    Host,
    Product,
    device_of,
)


@pytest.fixture(scope="module")
def product(build: workshop.Build) -> Product:
    return Product(build(LAYOUT))


@pytest.fixture
def board(product: Product) -> Iterator[Board]:
    """A protected board in DFU; what a test does to it changes nothing outside staging."""
    board = product.in_dfu(1)
    before = product.outside(board)
    yield board
    for name, content in product.outside(board).items():
        assert content == before[name], f"{name} was changed outside staging"


@pytest.fixture
def device(board: Board) -> CoreUsb:
    return device_of(board)


@pytest.fixture
def host(device: CoreUsb) -> Host:
    return Host(device)


def setup(kind: int, request: int, value: int, length: int) -> bytes:
    return bytes((kind, request, *value.to_bytes(2, "little"), 0, 0, *length.to_bytes(2, "little")))


# -- what it is ---------------------------------------------------------------------------------


def test_pyusb_reads_its_descriptors_and_strings(board: Board, product: Product) -> None:
    found = usb.core.find(backend=board.usb_backend(), idVendor=0x0483, idProduct=0xDF11)
    assert found is not None
    assert found.manufacturer == "splitflash"
    assert found.product == "splitflash protected product"
    assert found.serial_number == board.uid.hex().upper() or len(found.serial_number) == 24
    interface = found[0][(0, 0)]
    name = usb.util.get_string(found, interface.iInterface)
    assert name == "@Internal Flash   /0x08020000/07*128Kg"
    functional = bytes(interface.extra_descriptors)
    assert (functional[:2], functional[5:7]) == (b"\x09\x21", (1024).to_bytes(2, "little"))
    assert len(list(found[0])) == 1


def test_two_boards_have_two_serials(product: Product) -> None:
    boards = [product.board(), product.board()]
    boards[1].uid = bytes(range(12))
    serials = []
    for board in boards:
        product.enter(board)
        serials.append(usb.core.find(backend=board.usb_backend()).serial_number)
    assert serials[0] != serials[1]
    assert serials[1].lower() == bytes(range(12)).hex() or len(serials[1]) == 24


def test_windows_is_told_to_use_winusb(device: CoreUsb) -> None:
    bos = device.control(0x80, 6, 0x0F00, 0, 255)
    assert bos[1] == 0x0F
    assert len(bos) == int.from_bytes(bos[2:4], "little")
    platform = bytes.fromhex("df60ddd88945c74c9cd2659d9e648a9f")
    at = bos.index(platform) + 16
    length, vendor_code = int.from_bytes(bos[at + 4 : at + 6], "little"), bos[at + 6]
    descriptors = device.control(0xC0, vendor_code, 0, 7, length)
    assert len(descriptors) == length
    assert b"WINUSB\0\0" in descriptors


def test_what_a_host_reads_of_a_descriptor_is_what_it_asks_for(device: CoreUsb) -> None:
    whole = device.control(0x80, 6, 0x0200, 0, 255)
    for size in range(1, len(whole) + 2):
        assert device.control(0x80, 6, 0x0200, 0, size) == whole[:size]


# -- a drop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
def test_our_own_client_drops_and_the_loader_installs(product: Product, level: int) -> None:
    board = product.in_dfu(level)
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        run_plan(prepare_drop(product.update, client), client)
        client.leave(product.layout.staging.start)
    report = board.go_on(app_seconds=0.01)
    assert report.resets == ["reset"]
    assert report.outcome is Outcome.APP_RUNS
    assert product.shop.app_is(board, product.new)
    assert board.device is None


def test_without_leave_the_next_power_on_installs(product: Product) -> None:
    board = product.in_dfu(2)
    Host(device_of(board)).drop(product.layout.staging.start, product.update)
    assert product.runs(board) == product.new


def test_no_request_takes_as_long_as_hosts_wait(board: Board, product: Product) -> None:
    device = device_of(board)
    Host(device).drop(product.layout.staging.start, product.update)
    assert device.longest_transfer < 1.0


def test_a_host_that_polls_without_pause_is_answered_all_the_time(
    board: Board, host: Host, product: Product
) -> None:
    start = product.layout.staging.start
    board.program({start: bytes(range(32))})
    host.device.control(OUT, DNLOAD, 0, 0, b"\x41" + start.to_bytes(4, "little"))
    began, asked = board.clock.now, 0
    while host.status().state in (SYNC, BUSY):
        asked += 1
    assert asked > 10
    assert board.clock.now - began == pytest.approx(1.0, abs=0.2)
    assert board.read(start, 32) == b"\xff" * 32


def test_the_device_is_gone_soon_after_leave_but_not_before_its_answer(
    board: Board, host: Host
) -> None:
    reply = host.leave()
    assert (reply.status, reply.state) == (0, MANIFEST)
    assert host.device.is_on_bus
    board.clock.sleep(0.2)
    assert not host.device.is_on_bus
    assert board.device is None


# -- hosts that do not behave -------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 5, 8, 9, 71, 72, 500, 1031, 1032])
def test_a_cable_pulled_after_any_byte_of_a_block_costs_nothing_but_the_drop(
    board: Board, host: Host, product: Product, count: int
) -> None:
    start = product.layout.staging.start
    host.command(0x41, start)
    host.command(0x21, start)
    host.device.unplug_after_bytes(count)
    with pytest.raises(Gone):
        host.download(2, product.update[:1024])
    assert board.go_on().outcome is Outcome.STAYS_IN_DFU
    board.plug_in()
    assert board.go_on().outcome is Outcome.STAYS_IN_DFU
    again = Host(device_of(board))
    again.drop(start, product.update)
    assert board.read(start, len(product.update)) == product.update


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.3, 1.5])
def test_a_bus_reset_while_it_erases_leaves_a_device_that_takes_the_update(
    board: Board, host: Host, product: Product, seconds: float
) -> None:
    start = product.layout.staging.start
    host.device.control(OUT, DNLOAD, 0, 0, b"\x41" + start.to_bytes(4, "little"))
    assert host.status().state == BUSY
    board.clock.sleep(seconds)
    host.device.reset()
    assert host.status().state == IDLE
    host.drop(start, product.update)
    assert board.read(start, len(product.update)) == product.update


def test_a_bus_reset_in_any_state_leads_to_idle(host: Host, product: Product) -> None:
    start = product.layout.staging.start
    for prepare in (
        lambda: host.device.control(OUT, DNLOAD, 2, 0, bytes(64)),
        lambda: host.command(0x21, start),
        lambda: host.device.control(IN, UPLOAD, 2, 0, 64),
        lambda: host.device.setup(setup(OUT, DNLOAD, 2, 1024)),
        lambda: host.device.setup(setup(IN, UPLOAD, 2, 1024)),
    ):
        prepare()
        host.device.reset()
        assert host.status().state == IDLE


def test_a_new_setup_in_a_data_stage_ends_the_old_transfer(host: Host) -> None:
    device = host.device
    device.setup(setup(OUT, DNLOAD, 2, 1024))
    device.out(bytes(64))
    assert host.status().state == IDLE
    device.setup(setup(IN, UPLOAD, 2, 1024))
    assert len(device.in_()) == 64
    assert host.status().state in (IDLE, 9)


def test_setup_packets_in_a_row_all_count_as_the_last(host: Host) -> None:
    for _ in range(3):
        host.device.setup(setup(OUT, DNLOAD, 2, 1024))
    assert host.status().state == IDLE


def test_a_block_longer_than_a_transfer_is_refused(host: Host) -> None:
    with pytest.raises(Stall):
        host.device.control(OUT, DNLOAD, 2, 0, bytes(1025))
    assert host.status().state == ERROR
    host.to_idle()


def test_a_host_that_sends_less_than_it_announced_gets_no_status(host: Host) -> None:
    device = host.device
    device.patience = 0.1
    device.setup(setup(OUT, DNLOAD, 2, 300))
    device.out(bytes(64))
    device.out(bytes(10))
    with pytest.raises((Hung, Stall)):
        device.in_()
    assert host.status().state in (IDLE, ERROR)
    host.to_idle()


def test_an_out_packet_out_of_turn_is_not_taken(host: Host) -> None:
    host.device.patience = 0.1
    for data in (b"", bytes(64)):
        with pytest.raises((Hung, Stall)):
            host.device.out(data)
        assert host.status().state == IDLE


def test_a_host_that_stops_reading_early_is_understood(host: Host) -> None:
    device = host.device
    device.setup(setup(IN, UPLOAD, 2, 1024))
    assert len(device.in_()) == 64
    device.out(b"")
    assert host.status().state == 9
    host.to_idle()


@pytest.mark.parametrize("size", [2, 16, 31, 33, 63, 64, 65, 1000])
def test_a_block_of_any_length_is_written_and_padded(
    board: Board, host: Host, product: Product, size: int
) -> None:
    start = product.layout.staging.start
    host.command(0x41, start)
    host.command(0x21, start)
    assert host.download(2, bytes(size)).state == DNLOAD_IDLE
    padded = size + -size % 32
    assert board.read(start, padded + 32) == bytes(size) + b"\xff" * (padded - size + 32)


def test_a_word_that_is_not_blank_is_never_programmed_again(
    board: Board, host: Host, product: Product
) -> None:
    start = product.layout.staging.start
    board.program({start: bytes(range(64))})
    host.command(0x21, start)
    assert host.download(2, bytes(64)).state == ERROR
    assert board.flash.word_state(start) is Word.PROGRAMMED
    assert board.read(start, 64) == bytes(range(64))


@pytest.mark.parametrize(
    "address", [0x0800_0000, 0x0800_0400, 0x0810_0000, 0x081E_0000, 0x5200_201C, 0x2000_0000]
)
def test_nothing_but_staging_is_erased_or_written(host: Host, address: int) -> None:
    assert host.command(0x41, address).state == ERROR
    host.to_idle()
    if host.command(0x21, address).status == 0:
        assert host.download(2, bytes(64)).state == ERROR


def test_keys_and_application_are_not_read(host: Host, board: Board, product: Product) -> None:
    info = 0x0800_0400
    for address in (0x0800_0000, info + 0x200, 0x0800_8000, 0x0810_0000, 0x2000_0000, 0x1FF1_E800):
        with pytest.raises((Stall, AssertionError)):
            host.upload(address, 64)
        host.to_idle()
    assert host.upload(info, 512) == board.read(info, 512)
    assert len(host.upload(info + 0x1C0, 512)) <= 64


def test_read_unprotect_does_nothing(board: Board, host: Host) -> None:
    assert host.download(0, b"\x92").state == ERROR
    assert board.flash.options.rdp_level == 1
    assert host.device.is_on_bus


def test_a_torn_word_in_staging_is_told_and_erased(
    board: Board, host: Host, product: Product
) -> None:
    start = product.layout.staging.start
    board.flash.plant(start + 64, Word.POISONED)
    with pytest.raises(Stall):
        host.upload(start, 1024)
    host.drop(start, product.update)
    assert board.read(start, len(product.update)) == product.update


def test_a_host_that_gives_up_and_comes_back_finds_it_ready(
    board: Board, host: Host, product: Product
) -> None:
    start = product.layout.staging.start
    host.device.control(OUT, DNLOAD, 0, 0, b"\x41" + start.to_bytes(4, "little"))
    host.status()
    host.device.patience = 0.01
    with pytest.raises(Hung):
        host.device.control(IN, GETSTATUS, 0, 0, 6)
    host.device.patience = 5.0
    board.clock.sleep(60.0)
    host.drop(start, product.update)


def test_the_watchdog_of_an_option_byte_is_fed_all_the_time(product: Product) -> None:
    board = product.board(1)
    board.flash.options = board.flash.options.with_watchdog(from_power_on=True)
    assert board.flash.options.watchdog_from_power_on
    device = product.enter(board)
    board.clock.sleep(60.0)
    Host(device).drop(product.layout.staging.start, product.update)
    assert device.is_on_bus


def test_power_off_in_the_middle_of_an_erase_leaves_the_old_application(
    product: Product,
) -> None:
    board, start = product.in_dfu(1), product.layout.staging.start
    host = Host(device_of(board))
    board.program({start: product.update})
    host.device.control(OUT, DNLOAD, 0, 0, b"\x41" + start.to_bytes(4, "little"))
    host.status()
    board.clock.sleep(0.5)
    board.power_off()
    assert Word.POISONED in board.flash.banks[0].states[4096:8192]
    assert product.runs(board) == product.old


def test_boards_survive_their_file(product: Product, tmp_path: Path) -> None:
    board = product.in_dfu(1)
    Host(device_of(board)).drop(product.layout.staging.start, product.update)
    board.power_off()
    board.save(tmp_path / "board.sim")
    assert product.runs(Board.load(tmp_path / "board.sim")) == product.new
