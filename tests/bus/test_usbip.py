"""The USB/IP server: over a real loopback socket, with malformed peers, with the real client."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import workshop
from hypothesis import given
from hypothesis import strategies as st
from test_readme import README

from packager.cli import run
from packager.dfu.protocol import DfuSe
from packager.dfu.staging import prepare_drop, run_plan
from packager.errors import PackagerError
from packager.sim import usbip
from packager.sim.board import Board, Outcome
from packager.sim.rom import Hung, RomDfu
from packager.sim.usbip import ProtocolError, Submit, Unlink, UsbipServer

from .conftest import missing
from .scene import NEW, OLD, Product
from .usbip_client import Attached, request_list

DEVICE = struct.pack("<BBHHH", 0x80, 6, 0x0100, 0, 64)
GETSTATUS = struct.pack("<BBHHH", 0xA1, 3, 0, 0, 6)
STALLS = struct.pack("<BBHHH", 0xA1, 99, 0, 0, 6)
COMMAND = "splitflash sim serve board.sim --usbip"
VHCI = Path("/sys/module/vhci_hcd")


class Served:
    """A server in its own thread, and what it reported."""

    def __init__(self, board: Board) -> None:
        self.said: list[str] = []
        self.detached = 0
        self.server = UsbipServer(board, self.said.append, self._detached)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._ready.wait(10)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port

    def _detached(self) -> None:
        self.detached += 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self.server.serve("127.0.0.1", 0, self._ready.set))
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def close(self) -> None:
        if self.thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextmanager
def served(board: Board) -> Iterator[Served]:
    server = Served(board)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def attached(server: Served) -> Iterator[Attached]:
    host = Attached(server.address)
    try:
        yield host
    finally:
        host.close()


@pytest.fixture
def thing(product: Callable[[str], Product]) -> Product:
    return product(workshop.DEFAULT)


@pytest.fixture
def board() -> Board:
    """A blank board in its ROM."""
    blank = Board.new(workshop.layout_named(workshop.DEFAULT).chip)
    blank.boot(boot0=True)
    return blank


@pytest.fixture
def server(board: Board) -> Iterator[Served]:
    with served(board) as running:
        yield running


# -- the protocol ----------------------------------------------------------------------------------


def test_the_list_has_one_full_speed_dfu_device(server: Served) -> None:
    answer = request_list(server.address)
    assert answer[:12] == bytes.fromhex("0111 0005 00000000 00000001")
    assert len(answer) == 12 + 312 + 4
    device = answer[12:]
    assert device[256:288].rstrip(b"\0") == b"1-1"
    bus, number, speed = struct.unpack_from(">III", device, 288)
    assert (bus, number, speed) == (1, 2, 2)
    assert device[300:304] == bytes.fromhex("0483 df11")
    assert device[-4:] == bytes.fromhex("fe 01 02 00")


def test_an_import_answers_the_same_device_and_then_urbs(server: Served) -> None:
    with attached(server) as host:
        assert host.status == 0
        assert host.device == request_list(server.address)[12:-4]
        status, descriptor = host.submit(DEVICE, 64)
        assert (status, descriptor[:2], len(descriptor)) == (0, b"\x12\x01", 18)
        assert host.submit(GETSTATUS, 6) == (0, bytes((0, 0, 0, 0, 2, 0)))


def test_a_host_can_number_configure_and_reset_the_device(server: Served) -> None:
    with attached(server) as host:
        for setup in (
            struct.pack("<BBHHH", 0x00, 5, 7, 0, 0),
            struct.pack("<BBHHH", 0x00, 9, 1, 0, 0),
            struct.pack("<BBHHH", 0x01, 11, 1, 0, 0),
            struct.pack("<BBHHH", 0x23, 3, 4, 1, 0),
        ):
            assert host.submit(setup, b"") == (0, b"")
        assert host.submit(struct.pack("<BBHHH", 0x81, 10, 0, 0, 1), 1) == (0, b"\0")


def test_it_is_enumerated_as_linux_does_it(server: Served) -> None:
    """What it has no descriptor for it refuses, and goes on."""

    def get(kind: int, number: int, length: int, language: int = 0) -> bytes:
        setup = struct.pack("<BBHHH", 0x80, 6, kind << 8 | number, language, length)
        status, data = host.submit(setup, length)
        return data if status == 0 else b""

    with attached(server) as host:
        device = get(1, 0, 64)
        assert host.submit(struct.pack("<BBHHH", 0x00, 5, 3, 0, 0), b"") == (0, b"")
        assert get(1, 0, 18) == device
        assert get(6, 0, 10) == b"", "no device qualifier: it has one speed"
        assert get(15, 0, 5) == b"", "no BOS"
        head = get(2, 0, 9)
        whole = get(2, 0, int.from_bytes(head[2:4], "little"))
        assert len(whole) == int.from_bytes(whole[2:4], "little")
        assert get(3, 0, 255) == bytes.fromhex("04030904")
        strings = [get(3, number, 255, 0x0409)[2:].decode("utf-16-le") for number in (2, 1, 3)]
        assert strings == ["DFU in FS Mode", "STMicroelectronics", "200364500000"]
        assert get(3, 0xEE, 18) == b"", "no descriptors of Microsoft's"
        assert host.submit(struct.pack("<BBHHH", 0x00, 9, 1, 0, 0), b"") == (0, b"")
        assert get(3, 4, 255, 0x0409)[2:].decode("utf-16-le").startswith("@Internal Flash")


def test_what_the_device_refuses_is_a_stall(server: Served) -> None:
    with attached(server) as host:
        assert host.submit(STALLS, 6) == (-errno.EPIPE, b"")
        host.send(GETSTATUS, 6, endpoint=1)
        assert host.answer(incoming=True) == (-errno.EPIPE, b"")
        assert host.submit(GETSTATUS, 6)[0] == 0


def test_a_urb_for_another_device_finds_none(server: Served) -> None:
    with attached(server) as host:
        host.device_id += 1
        assert host.submit(GETSTATUS, 6) == (-errno.ENODEV, b"")


def test_only_one_host_can_have_it(server: Served) -> None:
    with attached(server):
        other = Attached(server.address)
        assert other.status == usbip.OpStatus.DEVICE_BUSY
        other.close()


def test_another_bus_id_is_no_device(server: Served) -> None:
    other = Attached(server.address, b"1-2")
    assert other.status == usbip.OpStatus.NO_DEVICE
    other.close()


def test_after_a_detach_it_can_be_attached_again(server: Served) -> None:
    for _ in range(3):
        with attached(server) as host:
            assert host.submit(GETSTATUS, 6)[0] == 0
        wait_for(lambda: not server.server._imported)
    assert server.said == ["attached", "detached"] * 3
    assert server.detached == 3


def test_an_error_while_saving_at_a_detach_ends_the_server(board: Board) -> None:
    def fail() -> None:
        raise PackagerError("board.sim", "the disk is full")

    async def play() -> None:
        server = UsbipServer(board, print, fail)
        ready = asyncio.Event()
        task = asyncio.create_task(server.serve("127.0.0.1", 0, ready.set))
        await ready.wait()
        host = await asyncio.to_thread(Attached, ("127.0.0.1", server.port))
        host.close()
        await asyncio.wait_for(task, 10)

    with pytest.raises(PackagerError, match="disk is full"):
        asyncio.run(play())


def test_a_urb_that_was_answered_cannot_be_unlinked(server: Served) -> None:
    with attached(server) as host:
        host.submit(GETSTATUS, 6)
        assert host.unlink(host.sequence) == 0


def test_a_urb_to_a_device_that_hangs_can_be_unlinked(
    server: Served, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang(monkeypatch)
    with attached(server) as host:
        sequence = host.send(GETSTATUS, 6)
        assert host.unlink(sequence) == -errno.ECONNRESET
        assert host.unlink(sequence) == 0


def test_a_host_cannot_leave_more_and_more_urbs_open(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang(monkeypatch)
    with attached(server) as host:
        with suppress(OSError):
            for _ in range(usbip.MAX_OPEN + 1):
                host.send(GETSTATUS, 6)
        wait_for(lambda: any("too many transfers" in said for said in server.said))


def test_the_board_waits_as_long_as_its_host(board: Board) -> None:
    """What the host's clock says has passed between two transfers has passed for the board."""
    moments = iter((100.0, 100.0, 107.5, 107.5))
    server = UsbipServer(board, print, lambda: None, now=lambda: next(moments))
    assert board.rom
    urbs = usbip._Urbs(board.rom, server._now, None, None)  # type: ignore[arg-type]
    urbs._submit(Submit(1, usbip.DEVICE_ID, True, 0, 6, GETSTATUS), b"")
    before = board.clock.now
    urbs._submit(Submit(2, usbip.DEVICE_ID, True, 0, 6, GETSTATUS), b"")
    assert 7.5 <= board.clock.now - before < 7.6


# -- drops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [False, True], ids=["detach", "leave"])
def test_a_whole_drop_is_installed(thing: Product, leave: bool) -> None:
    board = thing.board()
    with served(board) as server:
        client = DfuSe(Attached(server.address), where="USB/IP")
        with client:
            client.to_idle()
            run_plan(prepare_drop(thing.update, client), client)
            if leave:
                client.leave(0x08000000)
        if leave:
            server.thread.join(10)
            assert not server.thread.is_alive(), "the server ends when its device left"
    if leave:
        assert board.boot_after_leave(strict=False).outcome is Outcome.APP_RUNS
        assert thing.shop.app_is(board, thing.new)
    else:
        assert thing.power_cycle(board) == NEW


def test_a_drop_whose_connection_breaks_is_finished_over_the_next_one(thing: Product) -> None:
    board = thing.board()
    with served(board) as server:
        host = Attached(server.address)
        client = DfuSe(host)
        client.to_idle()
        plan = prepare_drop(thing.update, client)
        client.erase_sector(thing.layout.staging.start)
        client.write_blocks(thing.layout.staging.start + 1024, thing.update[1024:3072])
        host.close()
        wait_for(lambda: not server.server._imported)
        with DfuSe(Attached(server.address)) as client:
            client.to_idle()
            again = prepare_drop(thing.update, client)
            assert len(again.steps) <= len(plan.steps)
            run_plan(again, client)
    assert thing.power_cycle(board) == NEW


def test_a_board_that_loses_power_is_gone_and_the_server_ends(thing: Product) -> None:
    board = thing.board()
    board.boot(boot0=True, cut="1-torn")
    with served(board) as server:
        with attached(server) as host:
            address = thing.layout.staging.start.to_bytes(4, "little")
            host.submit(struct.pack("<BBHHH", 0x21, 1, 0, 0, 5), b"\x41" + address)
            assert host.submit(GETSTATUS, 6) == (-errno.ENODEV, b"")
        server.thread.join(10)
        assert not server.thread.is_alive()
    assert thing.power_cycle(board) == OLD


# -- peers that do not follow the protocol ---------------------------------------------------------


@given(st.binary(min_size=8, max_size=8))
def test_any_operation_is_known_or_refused(raw: bytes) -> None:
    with suppress(ProtocolError):
        assert usbip.parse_operation(raw) in usbip.OpCode


@given(st.binary(min_size=48, max_size=48))
def test_any_command_is_known_or_refused(raw: bytes) -> None:
    with suppress(ProtocolError):
        usbip.parse_command(raw)


@given(
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-2, 2),
    st.binary(min_size=8, max_size=8),
)
def test_a_command_never_asks_for_more_than_a_control_transfer_holds(
    code: int, direction: int, size: int, packets: int, setup: bytes
) -> None:
    raw = struct.pack(">5I", code, 7, 0x10002, direction, 0)
    raw += struct.pack(">IiiiI", 0, size, 0, packets, 0) + setup
    try:
        command = usbip.parse_command(raw)
    except ProtocolError:
        return
    if isinstance(command, Submit):
        assert 0 <= command.size <= 0xFFFF
        assert command.setup == setup
    else:
        assert command == Unlink(7, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from((0x21, 0xA1, 0x80, 0x00)) | st.integers(0, 255),
            st.integers(0, 6) | st.integers(0, 255),
            st.sampled_from((0, 2)) | st.integers(0, 0xFFFF),
            st.binary(max_size=64) | st.integers(0, 0xFFFF),
        ),
        max_size=20,
    )
)
def test_any_transfer_is_answered(transfers: list[tuple[int, int, int, bytes | int]]) -> None:
    board = Board.new(workshop.layout_named(workshop.DEFAULT).chip)
    board.boot(boot0=True)
    assert board.rom
    urbs = usbip._Urbs(board.rom, lambda: 0.0, None, None)  # type: ignore[arg-type]
    for kind, request, value, data in transfers:
        size = data if isinstance(data, int) else len(data)
        setup = struct.pack("<BBHHH", kind, request, value, 0, size)
        command = Submit(1, usbip.DEVICE_ID, isinstance(data, int), 0, size, setup)
        answer = urbs._submit(command, b"" if isinstance(data, int) else data)
        status, actual = struct.unpack_from(">iI", answer, 20)
        assert status in (0, -errno.EPIPE, -errno.ENODEV)
        assert actual <= size
        assert len(answer) == 48 + (actual if command.incoming else 0)


NOISE = [random.Random(seed).randbytes(size) for seed, size in enumerate((1, 7, 8, 47, 48, 5000))]
IMPORT = bytes.fromhex("0111 8003 00000000") + b"1-1".ljust(32, b"\0")
SUBMIT = struct.pack(">5IIiiiI", 1, 1, 0x10002, 0, 0, 0, 0x7FFFFFFF, 0, 0, 0) + bytes(8)
HALF = struct.pack(">5IIiiiI", 1, 1, 0x10002, 0, 0, 0, 4000, 0, 0, 0) + bytes(8)
BAD = [
    *NOISE,
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    IMPORT[:20],
    *(IMPORT + noise for noise in NOISE),
    IMPORT + SUBMIT,
    IMPORT + HALF,
    bytes.fromhex("0110 8005 00000000"),
    bytes.fromhex("0111 8004 00000000"),
]


def test_a_peer_that_makes_no_sense_costs_nobody_but_itself(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for bad in BAD:
        with socket.create_connection(server.address, 10) as wire, suppress(OSError):
            wire.sendall(bad)
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(4096):
                pass
        wait_for(lambda: not server.server._imported)
        assert len(request_list(server.address)) == 12 + 312 + 4, bad[:50]
    assert not caplog.records
    assert not server.server._connections


def test_peers_that_say_nothing_do_not_keep_others_waiting(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usbip, "HANDSHAKE_SECONDS", 0.5)
    silent = [socket.create_connection(server.address, 10) for _ in range(5)]
    assert len(request_list(server.address)) == 12 + 312 + 4
    for wire in silent:
        assert wire.recv(1) == b"", "it is sent away"
        wire.close()


def test_connections_are_limited(server: Served) -> None:
    many = [socket.create_connection(server.address, 10) for _ in range(usbip.MAX_CONNECTIONS + 3)]
    wait_for(lambda: len(server.server._connections) == usbip.MAX_CONNECTIONS)
    for wire in many:
        wire.close()
    wait_for(lambda: not server.server._connections)
    assert len(request_list(server.address)) == 12 + 312 + 4


# -- the command -----------------------------------------------------------------------------------


@contextmanager
def command_running(path: Path) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """Run ``sim serve`` on a free port; yield the process, the port and what it said so far."""
    words = [sys.executable, "-m", "packager", *COMMAND.split()[1:], "--port", "0"]
    assert path.name in words
    with subprocess.Popen(words, cwd=path.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = [process.stdout.readline() for _ in range(7)]
            yield process, int(said[0].split(" port ")[1].split(";")[0]), said
        finally:
            process.kill()


def test_the_command_is_the_one_of_readme() -> None:
    assert f"`{COMMAND}`" in README


def test_the_command_says_how_to_attach_saves_at_a_detach_and_ends_by_ctrl_c(
    thing: Product, tmp_path: Path
) -> None:
    path = tmp_path / "board.sim"
    thing.board().save(path)
    with command_running(path) as (process, port, said):
        assert f"  sudo usbip --tcp-port {port} attach -r 127.0.0.1 -b 1-1\n" in said
        with DfuSe(Attached(("127.0.0.1", port))) as client:
            client.to_idle()
            run_plan(prepare_drop(thing.update, client), client)
        wait_for(lambda: thing.power_cycle(Board.load(path)) == NEW)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stdout
        assert process.stdout.read().splitlines()[-1] == "  splitflash sim boot board.sim"
    assert thing.power_cycle(Board.load(path)) == NEW


def test_the_command_ends_when_the_device_is_told_to_start(thing: Product, tmp_path: Path) -> None:
    path = tmp_path / "board.sim"
    thing.board().save(path)
    with command_running(path) as (process, port, _):
        with DfuSe(Attached(("127.0.0.1", port))) as client:
            client.to_idle()
            client.leave(0x08000000)
        assert process.wait(20) == 0
        assert process.stdout
        assert "told to start what lies at 0x08000000\n" in process.stdout.read()


def test_a_port_in_use_is_named(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "board.sim"
    board.save(path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["sim", "serve", str(path), "--usbip", "--port", port]) == 1
    assert "choose another --port" in capsys.readouterr().err


# -- the real client -------------------------------------------------------------------------------


@pytest.fixture
def real_client() -> str:
    found = shutil.which("usbip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        missing("usbip is not installed")
    return found


def test_the_real_client_lists_the_board(server: Served, real_client: str) -> None:
    command = [real_client, "--tcp-port", str(server.address[1]), "list", "-r", "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert "1-1: " in done.stdout
    assert "(0483:df11)" in done.stdout


def test_the_real_client_imports_the_board(server: Served, real_client: str) -> None:
    """Without the kernel's module it imports, finds no host controller and lets go again."""
    port = str(server.address[1])
    command = [real_client, "--tcp-port", port, "attach", "-r", "127.0.0.1", "-b", "1-1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    wait_for(lambda: "attached" in server.said)
    if not VHCI.exists():
        assert done.returncode != 0
        assert "vhci" in done.stderr
        wait_for(lambda: server.said == ["attached", "detached"])


def test_dfu_util_sees_the_board_that_the_kernel_attached(
    server: Served, real_client: str, dfu_util: str
) -> None:
    """The only skip that is allowed where every tool is there: it is for the kernel to have it."""
    if not VHCI.exists() or os.geteuid() != 0:
        pytest.skip("this kernel has no USB/IP host (module vhci_hcd), or we are not root")
    port = str(server.address[1])
    subprocess.run(
        [real_client, "--tcp-port", port, "attach", "-r", "127.0.0.1", "-b", "1-1"],
        timeout=20,
        check=True,
    )
    listed = [dfu_util, "-l"]

    def seen() -> bool:
        done = subprocess.run(listed, capture_output=True, timeout=20, check=False)
        return b"200364500000" in done.stdout

    wait_for(seen)


# -- helpers ---------------------------------------------------------------------------------------


def hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the device answer nothing any more."""

    def control(*arguments: object) -> bytes:
        raise Hung

    monkeypatch.setattr(RomDfu, "control", control)


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
