"""A share of the power cuts during a drop over the loader's USB; ``otg_cuts`` does them all."""

from __future__ import annotations

import pytest
import workshop

from .otg_cuts import operations, survives
from .otg_scene import LAYOUT, Product

PLACES = ("first", "second", "third", "middle of the drop", "behind the drop", "install", "last")


@pytest.fixture(scope="module")
def product(build: workshop.Build) -> Product:
    return Product(build(LAYOUT))


@pytest.fixture(scope="module")
def places(product: Product) -> dict[str, int]:
    words = -(-len(product.update) // 32)
    total = operations(product)
    indexes = (1, 2, 3, words // 2, words + 2, words + (total - words) // 2, total)
    return dict(zip(PLACES, indexes, strict=True))


@pytest.mark.parametrize("place", PLACES)
def test_a_power_cut_bricks_nothing_and_the_update_is_taken_the_next_time(
    product: Product, places: dict[str, int], place: str
) -> None:
    flavour = ("before", "torn", "after")[PLACES.index(place) % 3]
    survives(product, f"{places[place]}-{flavour}")


def test_a_cut_in_the_erase_of_an_older_update_is_survived_too(product: Product) -> None:
    assert survives(product, "1-torn") == product.old
