"""The host build does what the shipped binaries do: same operations, same flash, cut for cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop
from proof import chains
from proof.product import HOST, ONE, TWO, Product
from proof.shipped import content, log
from proof.stories import BY_NAME

from host.board import HostBoard
from host.build import ZIG, build_host
from packager.loader_parts import load_loader_keys
from packager.sim.cells import Word

LOADER = 128 * 1024
SAMPLE = (
    ("install 1 KiB", "none"),
    ("install 1 KiB", "6-torn"),
    ("install 1 KiB", "9-torn+30-torn+44-torn"),
    ("install 1 KiB", "46-after+1-torn"),
    ("install 1 KiB", "3-torn+47-torn+1-torn+2-torn"),
    ("first sector is equal", "9-torn"),
    ("app shrinks by a sector", "52-torn"),
    ("refused header", "2-torn+5-torn"),
    ("corrupt app is repaired", "5-torn+20-after"),
    ("marks nearly full", "5-torn+5-torn"),
    ("marks nearly full, carry used up", "6-torn+9-torn"),
)


@pytest.fixture(scope="module")
def products(session_folder: Path) -> dict[str, Product]:
    return {name: Product.new(name, session_folder / "agree" / name) for name in (ONE, TWO)}


@pytest.mark.parametrize("tool", ["gcc", "zig"])
@pytest.mark.parametrize(("name", "chain"), SAMPLE)
def test_a_chain_of_cuts_leaves_the_same_flash_on_the_host_and_on_the_shipped_binary(
    products: dict[str, Product], name: str, chain: str, tool: str
) -> None:
    story = BY_NAME[name]
    product = products[story.layout]
    here = story.prepare(product, HOST, 3).watched.board
    chip = story.prepare(product, workshop.needs(tool), 3).watched.board

    for cut in (*chains.parse(chain), None, None):
        on_host, on_chip = here.boot(cut=cut), chip.boot(cut=cut, strict=False)

        assert on_host.outcome is on_chip.outcome, cut
        assert log(on_host) == log(on_chip), cut
        assert content(here, LOADER) == content(chip, LOADER), cut


def test_boots_of_the_host_build_do_not_know_of_each_other(products: dict[str, Product]) -> None:
    board = BY_NAME["install 1 KiB"].prepare(products[ONE], HOST, 0).watched.board
    before = board.snapshot()
    first = log(board.boot())
    board.restore(before)

    assert log(board.boot()) == first


def test_the_comparison_sees_a_word_that_only_one_of_the_boards_lost(
    products: dict[str, Product],
) -> None:
    story = BY_NAME["install 1 KiB"]
    one, other = (story.prepare(products[ONE], HOST, 0).watched.board for _ in range(2))
    assert content(one, LOADER) == content(other, LOADER)
    other.flash.plant(products[ONE].layout.marks.start, Word.CORRECTED)

    assert content(one, LOADER) != content(other, LOADER)


def test_pip_alone_is_enough_for_the_host_build(
    products: dict[str, Product], tmp_path: Path
) -> None:
    """Built by the compiler that comes as a package, it does the same."""
    workshop.needs("zig")
    product = products[ONE]
    built = build_host(
        product.layout, load_loader_keys(product.keys), tmp_path / "z.so", command=ZIG
    )
    board = BY_NAME["install 1 KiB"].prepare(product, HOST, 0).watched.board
    other = HostBoard(product.layout.chip, built)
    other.restore(board.snapshot())

    for cut in ("20-torn", "44-torn", None):
        assert log(other.boot(cut=cut)) == log(board.boot(cut=cut))
        assert content(other, LOADER) == content(board, LOADER)
