"""Keys are lost, layouts are edited: what the loader that was shipped says to the next update."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import workshop

from packager import rehearse
from packager.errors import FormatError, RefusedError
from packager.keys import keygen, load_recipients, load_signing_key
from packager.loader_file import loader_of
from packager.update import build_update


@pytest.mark.parametrize("tool", ["gcc", "zig"])
def test_with_the_active_key_deleted_the_spare_signs_and_the_same_loader_installs(
    build: workshop.Build, tmp_path: Path, tool: str
) -> None:
    shop = build(workshop.DEFAULT, tool)
    keys = tmp_path / "keys"
    shutil.copytree(shop.keys, keys)
    (keys / "signing" / "active.pem").unlink()
    shutil.rmtree(keys / "device")
    image = shop.image(3_000, seed=2)
    key = load_signing_key(keys)
    update = build_update(image, shop.layout, key, load_recipients(keys), 0x0200_0000, 1)
    board = shop.board(shop.image(2_000))
    shop.stage(board, update)

    assert key.name == "spare"
    assert workshop.runs(board.boot())
    assert shop.app_is(board, image)


def test_verify_with_a_loader_says_what_it_did(shop: workshop.Workshop) -> None:
    update = shop.update(shop.image(3_000), "1.4.2")

    said = rehearse.verify_with_loader(update, shop.loader.elf)

    assert said.startswith("loader_SECRET.elf installs version 1.4.2 in ")


def test_verify_with_a_loader_names_a_layout_that_was_edited_after_shipping(
    shop: workshop.Workshop,
) -> None:
    edited = replace(shop.layout, product_id="another-board")
    other = workshop.Workshop(edited, shop.keys, shop.loader)

    with pytest.raises(RefusedError, match="the update is for another product"):
        rehearse.verify_with_loader(other.update(shop.image(3_000)), shop.loader.elf)


def test_verify_with_a_loader_names_a_key_that_was_changed_after_shipping(
    shop: workshop.Workshop, tmp_path: Path
) -> None:
    keygen(tmp_path / "new")
    other = workshop.Workshop(shop.layout, tmp_path / "new", shop.loader)

    with pytest.raises(RefusedError, match="signed by a key this loader does not trust"):
        rehearse.verify_with_loader(other.update(shop.image(3_000)), shop.loader.elf)


@pytest.mark.parametrize(
    ("segments", "found"),
    [
        ({}, "no info block at 0x08000400"),
        ({0x0810_0000: b"app", 0x3800_0000: b"far away"}, "bytes outside 0x08000000..0x0801FFFF"),
    ],
)
def test_what_is_no_loader_is_told_and_never_filled_up_in_memory(
    segments: dict[int, bytes], found: str
) -> None:
    with pytest.raises(FormatError, match=f"no splitflash loader: {found}"):
        loader_of(segments, "app.elf")
