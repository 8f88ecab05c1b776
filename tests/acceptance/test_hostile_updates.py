"""What the shipped loader does with updates that were altered: nothing, but say so."""

from __future__ import annotations

import random

import pytest
import workshop

from packager.chip import SECTOR_SIZE
from packager.format import HEADER_SIZE, UpdateHeaderStruct
from packager.keys import load_device_keys, load_verify_keys
from packager.reasons import Reason
from packager.records import AppState, RecordType
from packager.update import Refusal, open_update

FLIPS_A_PART = 32


def header_flips() -> list[int]:
    """Return bit numbers spread over every field of the header, at least one in each."""
    chosen, at = set[int](), 0
    for field in UpdateHeaderStruct.subcons:
        bits = field.sizeof() * 8
        picks = random.Random(field.name).sample(range(bits), min(bits, 9))
        chosen.update(at * 8 + bit for bit in picks)
        at += field.sizeof()
    spread = range(0, HEADER_SIZE * 8, 61)
    return sorted(chosen | set(spread))


def flipped(update: bytes, bit: int) -> bytes:
    data = bytearray(update)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


PARTS = [header_flips()[at::8] for at in range(8)]


def test_the_flips_cover_every_field_and_are_enough() -> None:
    assert sum(len(part) for part in PARTS) >= 256


@pytest.mark.parametrize("part", range(8))
def test_a_header_bit_flip_is_refused_by_the_shipped_loader(
    shop: workshop.Workshop, part: int
) -> None:
    old, update = shop.image(3_000, seed=1), shop.update(shop.image(5_000, seed=2))
    board = shop.board(old)
    fresh = board.snapshot()
    for bit in PARTS[part]:
        board.restore(fresh)
        shop.stage(board, flipped(update, bit))
        report = board.boot(strict=bit == PARTS[part][0])  # one look at every load is enough

        assert workshop.runs(report), (bit, report)
        assert shop.app_is(board, old), bit
        assert touched(report.operations) <= {
            shop.layout.staging.start,
            shop.layout.marks.start,
        }, bit
        assert_same_verdict(shop, board, flipped(update, bit), bit)


@pytest.mark.parametrize("tool", ["gcc", "zig"])
def test_a_payload_bit_flip_is_refused_before_the_app_area_is_touched(
    build: workshop.Build, tool: str
) -> None:
    shop = build(workshop.DEFAULT, tool)
    old, update = shop.image(3_000, seed=1), shop.update(shop.image(40_000, seed=2))
    board = shop.board(old)
    fresh = board.snapshot()
    end = HEADER_SIZE + 40_000 + 3 * 16
    for bit in random.Random(7).sample(range(HEADER_SIZE * 8, end * 8), FLIPS_A_PART):
        board.restore(fresh)
        shop.stage(board, flipped(update, bit))
        report = board.boot(strict=False)

        assert workshop.runs(report)
        assert shop.app_is(board, old)
        record = shop.records(board)[-1]
        assert (record.type, record.reason) == (RecordType.REFUSED, Reason.PAYLOAD_DIGEST)


def assert_same_verdict(shop: workshop.Workshop, board: object, update: bytes, bit: int) -> None:
    """The host's reader and the loader must give the same reason; a lost magic is no update."""
    with pytest.raises(Refusal) as caught:
        open_update(update, load_verify_keys(shop.keys), load_device_keys(shop.keys), shop.layout)
    record = shop.records(board)[-1]  # type: ignore[arg-type]
    if caught.value.reason is Reason.NONE:
        assert record.type is RecordType.INSTALLED, bit
    else:
        assert (record.type, record.reason) == (RecordType.REFUSED, caught.value.reason), bit
    assert record.state is AppState.INSTALLED


def touched(operations: list[object]) -> set[int]:
    return {op.address - op.address % SECTOR_SIZE for op in operations}  # type: ignore[attr-defined]
