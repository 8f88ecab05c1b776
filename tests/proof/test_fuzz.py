"""The fuzzers find nothing in the shipped sources, come everywhere, and find what is planted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from packager.reasons import Reason
from packager.resources import loader_sources

from . import fuzz

FUZZED = "inputs fuzzed through the loader's own sources, with sanitizers"
"""Property of a test; the run prints the sum."""
EXECUTIONS = 30_000
NOT_OF_AN_UPDATE = {
    Reason.NONE,
    Reason.KEYS_UNUSABLE,
    Reason.MARKS_FULL,
    Reason.ALREADY_INSTALLED,
    Reason.FLASH_FAILED,
}
"""Reasons that looking at an update never gives, or not with the keys of the fuzzers."""


def or_skip(
    work: Callable[[], fuzz.FuzzTally],
) -> fuzz.FuzzTally:
    """Run, or skip without clang; where every tool must be there, fail instead of skipping."""
    try:
        return work()
    except fuzz.FuzzerMissing as missing:
        if os.environ.get("SPLITFLASH_TEST_ALL_TOOLS"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def tally(folder: Path) -> fuzz.FuzzTally:
    return or_skip(lambda: fuzz.run(EXECUTIONS, folder=folder))


def test_nothing_is_found_in_the_shipped_sources(
    tally: fuzz.FuzzTally, record_property: Callable[[str, object], None]
) -> None:
    assert tally.findings == ()
    assert (tally.crashes, tally.hangs, tally.accepted) == (0, 0, 0)
    assert tally.executions >= EXECUTIONS
    record_property(FUZZED, tally.executions)


def test_the_fuzzers_come_to_every_refusal_and_to_the_end(tally: fuzz.FuzzTally) -> None:
    assert tally.authentic > 0
    met = {reason for reason, count in tally.reasons.items() if count}
    assert set(Reason) - met <= NOT_OF_AN_UPDATE


def test_the_packager_says_the_same_to_what_the_fuzzers_kept(
    tally: fuzz.FuzzTally, folder: Path
) -> None:
    """With the loader's real Ed25519 and X25519. A word that cannot be read is the chip's alone."""
    assert not tally.findings
    product = fuzz.Product.make()
    inputs = [
        path
        for name in ("look-signed", "look")
        for path in sorted((folder / "corpus" / name).iterdir())
        if path.stat().st_size >= 16
    ]
    compared = 0
    said = fuzz.verdicts_of(folder / "fuzz-look-signed", inputs, folder)
    for path, verdict in zip(inputs, said, strict=True):
        data = path.read_bytes()
        poisoned_word = int.from_bytes(data[8:12], "little")
        if poisoned_word * 32 > len(data):
            assert product.reason_for(data) == verdict, path.name
            compared += 1
    assert compared > 100


MUTANTS = {
    "sizes are trusted": (
        "update.c",
        "header->payload_size - image == tags",
        "tags != 0",
        "look",
    ),
    "the chunk size is trusted": (
        "update.c",
        "chunk > MAX_CHUNK_SIZE ||\n        (chunk & (chunk - 1))",
        "chunk == 0",
        "look",
    ),
    "an equal counter may carry a lower version": (
        "update.c",
        "header->version < newest->floor_version &&",
        "0 &&",
        "look",
    ),
    "the last chunk is not marked": (
        "update.c",
        "store_le32(aad + 4, is_last);",
        "store_le32(aad + 4, 0);",
        "look",
    ),
    "the image digest is not compared": (
        "update.c",
        "mem_differs(digest, header->image_digest, sizeof digest)",
        "mem_differs(digest, digest, sizeof digest)",
        "look",
    ),
    "a high S is accepted": (
        "crypto/ed25519.c",
        "return ED25519_GOOD ^ (uint32_t)mismatch;",
        "(void)mismatch;\n    return ED25519_GOOD;",
        "look-signed",
    ),
    "the crc of a record is not checked": (
        "mark.c",
        "|| record->crc != record_crc(record)",
        "",
        "marks",
    ),
    "a used slot is written again": (
        "mark.c",
        "marks->next_slot < SLOTS && is_used(marks->next_slot)",
        "marks->next_slot < SLOTS && is_used(marks->next_slot) && 0",
        "marks",
    ),
    "marks are emptied without a copy": (
        "mark.c",
        "return write_carry(&marks->newest) ? -1 : start_anew(marks);",
        "return start_anew(marks);",
        "marks",
    ),
    "refusals without end": ("mark.c", "run >= REFUSALS_KEPT", "run > 0xfffffffe", "marks"),
    "a table that installs what was refused": (
        "decide.c",
        "{ STAGED_REFUSED,   ANY,              ANY, APP_VALID, CLEAR    }",
        "{ STAGED_REFUSED,   ANY,              ANY, APP_VALID, INSTALL  }",
        "decide",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_negative_control_a_broken_loader_is_found(tmp_path: Path, name: str) -> None:
    """A fuzzer that cannot find anything proves nothing: it has five times 60 000 executions."""
    file, old, new, target = MUTANTS[name]
    sources = tmp_path / "mcu_loader"
    shutil.copytree(loader_sources(), sources)
    text = (sources / file).read_text()
    assert text.count(old) == 1, "the mutation no longer fits the source"
    (sources / file).write_text(text.replace(old, new))
    for seed in range(1, 6):
        folder = tmp_path / f"fuzz{seed}"
        found = or_skip(
            partial(fuzz.run, 60_000, folder=folder, sources=sources, seed=seed, only=(target,))
        )
        if found.crashes + found.accepted + found.hangs:
            return
    pytest.fail(f"not found: {name}")
