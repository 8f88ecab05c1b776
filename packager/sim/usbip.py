"""A USB/IP server with one virtual board: any host can attach it as if it were plugged in.

The wire format is that of the Linux kernel (Documentation/usb/usbip_protocol.rst, version 1.1.1):
an operation lists or imports devices, and after an import the same connection carries URBs. A DFU
device has endpoint 0 only, so a URB is one call of the device's ``control``.

Promises: whatever a peer sends, it costs at most its own connection; nobody else is kept waiting.
The board's time goes on while the host waits, and its own work takes virtual time only: a host
that sleeps as long as the device asks for finds it ready, never late.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from packager.errors import PackagerError
from packager.sim.usb import Gone, Hung, Socket, Stall, UsbDevice, UsbFailure

VERSION = 0x0111
BUS_ID = "1-1"
BUS, DEVICE = 1, 2
DEVICE_ID = BUS << 16 | DEVICE
MAX_TRANSFER = 0xFFFF
"""Bytes: wLength of a control transfer has 16 bits."""
MAX_CONNECTIONS = 16
HANDSHAKE_SECONDS = 10.0
"""How long a peer may take to say what it wants."""
MAX_OPEN = 256
"""URBs a peer may leave open; a device that answers leaves none."""
_BEAT_SECONDS = 0.25
"""How often a board lives on while its host is silent: a device may leave by itself."""
_EPIPE, _ENODEV, _ECONNRESET = 32, 19, 104
"""Error numbers of Linux, whatever this runs on."""
_FULL_SPEED = 2
_OPERATION = struct.Struct(">HHI")
_DEVICE = struct.Struct(">256s32sIIIHHHBBBBBB")
_BUS_ID_SIZE = 32
_COMMAND_HEAD = struct.Struct(">IIIII")
_SUBMIT = struct.Struct(">IiiiI8s")
_REPLY = struct.Struct(">IIIIIiiiii8x")
_UNLINK_REPLY = struct.Struct(">IIIIIi24x")
COMMAND_SIZE = 48
_SETUP = struct.Struct("<BBHHH")
_SET_ADDRESS = (0x00, 5)
_PORT_RESET = (0x23, 3, 4)


class OpCode(IntEnum):
    """Operations a peer asks for; the reply has the code without its top bit."""

    DEVICE_LIST = 0x8005
    IMPORT = 0x8003


class OpStatus(IntEnum):
    """Results of an operation."""

    OK = 0
    DEVICE_BUSY = 2
    NO_DEVICE = 4


class _Code(IntEnum):
    SUBMIT = 1
    UNLINK = 2
    SUBMIT_REPLY = 3
    UNLINK_REPLY = 4


class ProtocolError(Exception):
    """The peer does not follow the protocol; its connection is closed."""


@dataclass(frozen=True)
class Submit:
    """A URB; OUT data follows on the wire if ``size`` bytes are sent."""

    sequence: int
    device_id: int
    incoming: bool
    endpoint: int
    size: int
    setup: bytes


@dataclass(frozen=True)
class Unlink:
    """A request to give up a URB."""

    sequence: int
    unlinks: int


def parse_operation(raw: bytes) -> OpCode:
    """Parse the 8 bytes that begin an operation."""
    version, code, _ = _OPERATION.unpack(raw)
    if version != VERSION:
        raise ProtocolError(f"protocol version 0x{version:04X}")
    try:
        return OpCode(code)
    except ValueError:
        raise ProtocolError(f"operation 0x{code:04X}") from None


def parse_command(raw: bytes) -> Submit | Unlink:
    """Parse the 48 bytes that begin a command."""
    code, sequence, device_id, direction, endpoint = _COMMAND_HEAD.unpack_from(raw)
    if code == _Code.UNLINK:
        return Unlink(sequence, int.from_bytes(raw[20:24], "big"))
    if code != _Code.SUBMIT:
        raise ProtocolError(f"command {code}")
    if direction not in (0, 1):
        raise ProtocolError(f"direction {direction}")
    _, size, _, packets, _, setup = _SUBMIT.unpack_from(raw, _COMMAND_HEAD.size)
    if not 0 <= size <= MAX_TRANSFER:
        raise ProtocolError(f"a transfer of {size} bytes")
    if packets not in (0, -1):
        raise ProtocolError("isochronous packets for a device that has none")
    return Submit(sequence, device_id, direction == 1, endpoint, size, setup)


def device_list(device: UsbDevice | None) -> bytes:
    """Return the answer to DEVICE_LIST."""
    head = _OPERATION.pack(VERSION, OpCode.DEVICE_LIST & 0x7FFF, OpStatus.OK)
    if device is None:
        return head + bytes(4)
    configuration = device.descriptors.configuration
    interface = configuration[configuration[0] :][5:8] + b"\0"
    return head + (1).to_bytes(4, "big") + _device(device) + interface


def import_reply(status: OpStatus, device: UsbDevice | None = None) -> bytes:
    """Return the answer to IMPORT, with the device if it succeeds."""
    head = _OPERATION.pack(VERSION, OpCode.IMPORT & 0x7FFF, status)
    return head + (b"" if device is None or status is not OpStatus.OK else _device(device))


def submit_reply(sequence: int, status: int, actual: int, data: bytes = b"") -> bytes:
    """Return the answer to a URB."""
    return _REPLY.pack(_Code.SUBMIT_REPLY, sequence, 0, 0, 0, status, actual, 0, 0, 0) + data


def unlink_reply(sequence: int, status: int) -> bytes:
    """Return the answer to an UNLINK: -ECONNRESET if the URB was still open, else 0."""
    return _UNLINK_REPLY.pack(_Code.UNLINK_REPLY, sequence, 0, 0, 0, status)


def _device(device: UsbDevice) -> bytes:
    raw = device.descriptors.device
    vendor, product, release = struct.unpack_from("<HHH", raw, 8)
    path = f"/sys/devices/platform/splitflash/usb{BUS}/{BUS_ID}".encode()
    numbers = BUS, DEVICE, _FULL_SPEED, vendor, product, release
    classes = raw[4], raw[5], raw[6]
    return _DEVICE.pack(path, BUS_ID.encode(), *numbers, *classes, 1, raw[17], 1)


class UsbipServer:
    """Serves one board; :meth:`serve` runs until the device left the bus.

    ``on_detach`` is called when a host let go of it; an error it raises ends :meth:`serve`.
    """

    def __init__(
        self,
        board: Socket,
        report: Callable[[str], None],
        on_detach: Callable[[], None],
        now: Callable[[], float] | None = None,
    ) -> None:
        self._board = board
        self._report = report
        self._on_detach = on_detach
        self._now = now or time.monotonic
        self._connections: set[asyncio.Task[None]] = set()
        self._imported = False
        self._left = asyncio.Event()
        self._failure: PackagerError | OSError | None = None
        self.port = 0
        """The TCP port, once it listens."""

    async def serve(self, host: str, port: int, ready: Callable[[], None] | None = None) -> None:
        """Listen until the device left the bus.

        Raises:
            PackagerError: nothing can listen there.
        """
        try:
            server = await asyncio.start_server(self._connected, host, port)
        except (OSError, UnicodeError) as error:  # the second for a host that IDNA cannot encode
            raise PackagerError(
                f"{host}:{port}",
                f"cannot listen there ({getattr(error, 'strerror', None) or error})",
                "",
                "choose another --port or --host, or end the program that uses it",
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        try:
            if ready:
                ready()
            await self._left.wait()
            if self._failure:
                raise self._failure
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    # -- connections ------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= MAX_CONNECTIONS:
                await self._talk(reader, writer)
        except ProtocolError as error:
            self._report(f"a peer was sent away: {error}")
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass  # it went, or it never said what it wanted
        except asyncio.CancelledError:
            pass  # we close
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            operation = parse_operation(await reader.readexactly(_OPERATION.size))
            if operation is OpCode.DEVICE_LIST:
                writer.write(device_list(self._board.device))
                await writer.drain()
                return
            wanted = await reader.readexactly(_BUS_ID_SIZE)
        device = self._board.device
        status = OpStatus.OK
        if device is None or wanted.split(b"\0")[0] != BUS_ID.encode():
            status = OpStatus.NO_DEVICE
        elif self._imported:
            status = OpStatus.DEVICE_BUSY
        writer.write(import_reply(status, device))
        if device is not None and status is OpStatus.OK:
            await self._imported_by_peer(device, reader, writer)
        await writer.drain()

    async def _imported_by_peer(
        self, device: UsbDevice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._imported = True
        wire: socket.socket = writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a host may crash unnoticed
        self._report("attached")
        try:
            with suppress(UsbFailure):
                device.reset()  # what a hub does to a device that was plugged in
            await _Urbs(device, self._now, reader, writer).run()
        finally:
            self._imported = False
            device.clock.sleep(_BEAT_SECONDS)  # it may have been told to leave
            if device.is_on_bus:
                self._report("detached")
                self._tell_detached()
            else:
                self._left.set()

    def _tell_detached(self) -> None:
        try:
            self._on_detach()
        except (PackagerError, OSError) as error:
            self._failure = error
            self._left.set()


class _Urbs:
    """The URBs of one import."""

    def __init__(
        self,
        device: UsbDevice,
        now: Callable[[], float],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._device = device
        self._now = now
        self._last = now()
        self._reader = reader
        self._writer = writer
        self._open: set[int] = set()
        """Sequence numbers of URBs that a device that hangs will never answer."""

    async def run(self) -> None:
        """Answer until the peer or the device goes."""
        while self._device.is_on_bus:
            command = await self._next_command()
            if command is None:
                return
            if isinstance(command, Unlink):
                self._writer.write(self._unlink(command))
            else:
                data = b""
                if not command.incoming and command.size:
                    data = await self._reader.readexactly(command.size)
                self._writer.write(self._submit(command, data))
            await self._writer.drain()

    async def _next_command(self) -> Submit | Unlink | None:
        """Wait for the peer while time passes for the board; None once the device has left."""
        reading = asyncio.ensure_future(self._reader.readexactly(COMMAND_SIZE))
        try:
            while not (await asyncio.wait({reading}, timeout=_BEAT_SECONDS))[0]:
                self._let_time_pass()
                if not self._device.is_on_bus:
                    return None
            return parse_command(reading.result())
        finally:
            reading.cancel()

    def _let_time_pass(self) -> None:
        now = self._now()
        self._device.clock.sleep(max(0.0, now - self._last))
        self._last = now

    def _unlink(self, command: Unlink) -> bytes:
        if command.unlinks in self._open:
            self._open.discard(command.unlinks)
            return unlink_reply(command.sequence, -_ECONNRESET)
        return unlink_reply(command.sequence, 0)

    def _submit(self, command: Submit, data: bytes) -> bytes:
        if command.device_id != DEVICE_ID:
            return submit_reply(command.sequence, -_ENODEV, 0)
        if command.endpoint:
            return submit_reply(command.sequence, -_EPIPE, 0)
        try:
            answer = self._control(command, data)
        except Stall:
            return submit_reply(command.sequence, -_EPIPE, 0)
        except Gone:
            return submit_reply(command.sequence, -_ENODEV, 0)
        except Hung:
            if len(self._open) == MAX_OPEN:
                raise ProtocolError("too many transfers are open") from None
            self._open.add(command.sequence)
            return b""
        if command.incoming:
            return submit_reply(command.sequence, 0, len(answer), answer)
        return submit_reply(command.sequence, 0, len(data))

    def _control(self, command: Submit, data: bytes) -> bytes:
        kind, request, value, index, length = _SETUP.unpack(command.setup)
        self._let_time_pass()
        if (kind, request) == _SET_ADDRESS:
            return b""  # the host's end of the cable has numbered the device already
        if (kind, request, value) == _PORT_RESET:
            self._device.reset()
            return b""
        incoming = bool(kind & 0x80)
        if incoming != command.incoming and length:
            raise Stall
        wanted = min(length, command.size)
        return self._device.control(
            kind, request, value, index, wanted if incoming else data[:wanted]
        )
