"""A device that answers anything at all: the client ends with an error of ours, and soon."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from dfu import products
from dfu.products import STAGING
from dfu.scripted import Clock
from dfu.test_virtual_board import board_with, drop

from packager.dfu.memory_map import parse_memory_map
from packager.dfu.pipe import GoneError, StalledError
from packager.dfu.protocol import DfuSe
from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.status import read_status, status_as_dict
from packager.dfu.usb import open_device
from packager.errors import DeviceTimeoutError, PackagerError
from packager.sim.board import Board

RECORDS = [products.info_bytes(), products.record(), b"\xff" * 1024, bytes(1024)]
STATES = [2, 2, 2, 3, 4, 5, 5, 5, 9, 10]


class Liar:
    """Follows no protocol; where it writes nothing is checked, for it has no flash."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.commands: list[bytes] = []

    def close(self) -> None:
        pass

    def ctrl_transfer(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | int,
        timeout_ms: int,
    ) -> bytes:
        rng = self.rng
        self.clock.now += 0.001
        chance = rng.random()
        if chance < 0.003:
            raise GoneError("liar", "left")
        if chance < 0.006:
            self.clock.now += timeout_ms / 1000
            raise DeviceTimeoutError("liar", "silent")
        if chance < 0.02:
            raise StalledError("liar", "stall")
        if isinstance(data_or_length, bytes):
            if request == 1 and value == 0:
                self.commands.append(data_or_length)
            return b""
        if request == 3:
            return self._status()
        content = rng.choice([*RECORDS, rng.randbytes(1024)])
        size = data_or_length if rng.random() < 0.95 else rng.randrange(data_or_length + 1)
        return (content * 2)[:size].ljust(min(size, 2048), b"\xff")

    def _status(self) -> bytes:
        rng = self.rng
        status = 0 if rng.random() < 0.97 else rng.randrange(20)
        reply = bytes([status, *rng.choice([b"\0\0\0", b"\1\0\0", b"\xff\xff\xff"])])
        reply += bytes([rng.choice(STATES) if rng.random() < 0.98 else rng.randrange(256), 0])
        return reply if rng.random() < 0.99 else reply[: rng.randrange(6)]

    def client(self) -> DfuSe:
        flash = parse_memory_map("@Internal Flash   /0x08000000/16*128Kg")
        return DfuSe(self, self.clock, memory_map=flash, where="liar")


@pytest.mark.parametrize("block", range(4))
def test_whatever_a_device_answers_the_end_is_an_error_of_ours_within_minutes(block: int) -> None:
    update = products.whole_update(8 * 1024)
    for seed in range(250 * block, 250 * (block + 1)):
        liar = Liar(seed)
        try:
            with liar.client() as client:
                client.to_idle()
                status_as_dict(read_status(client))
                run_plan(prepare_drop(update, client), client)
        except PackagerError:
            pass
        assert liar.clock.now < 300, seed
        for command in liar.commands:
            assert command[0] in (0x21, 0x41), seed
            assert len(command) == 5, "never a mass erase, never Read Unprotect"
            erases = command[0] == 0x41
            assert not erases or STAGING.contains(int.from_bytes(command[1:], "little")), seed


@pytest.mark.parametrize("one_in", [20, 100, 400])
def test_a_bad_line_is_an_error_or_a_good_drop_and_the_next_drop_over_a_good_one_succeeds(
    one_in: int,
) -> None:
    """Answers come back altered now and then; what is staged in the end is judged by its bytes."""
    ended = Counter[str]()
    update = products.update(6000)
    for seed in range(60):
        board = board_with(0x92, serial=seed)
        began = board.clock.now
        try:
            drop_over_a_bad_line(board, update, random.Random(seed), one_in)
            ended["success"] += 1
        except PackagerError as error:
            ended[type(error).__name__] += 1
        assert board.clock.now - began < 300, seed
        outside = [op for op in board.flash.operations if not STAGING.contains(op.address)]
        assert not outside, seed
        header = board.read(STAGING.start, 8) == update[:8]
        whole = board.read(STAGING.start, len(update)) == update
        assert whole or not header, seed
        drop(board, update)
        assert board.read(STAGING.start, len(update)) == update, seed
    assert len(ended) > 1, ended


def drop_over_a_bad_line(board: Board, update: bytes, rng: random.Random, one_in: int) -> None:
    board.boot(boot0=True)
    rom = board.rom
    assert rom
    control = rom.control

    def noisy(kind: int, request: int, value: int, index: int, data: bytes | int) -> bytes:
        answer = bytearray(control(kind, request, value, index, data))
        if kind == 0xA1 and answer and rng.randrange(one_in) == 0:
            answer[rng.randrange(len(answer))] ^= 1 << rng.randrange(8)
        return bytes(answer)

    rom.control = noisy  # type: ignore[assignment, method-assign]
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        run_plan(prepare_drop(update, client), client)
