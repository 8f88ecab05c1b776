"""Makes the files for the first real boards: ``python tests/hardware/prepare.py hw``.

In the folder: keys of its own, and one folder for each product with its layout, loader, factory
image, two builds of the example application (they print on USART3, PD8, 115200 baud: the ST-LINK
port of a NUCLEO-H743ZI2), and updates, good ones and such as must be refused. Everything here is
for the bench; the keys are new, and not for a product.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from packager.cli import run
from packager.examples import build_example
from packager.format import HEADER_SIZE
from packager.hex_file import write_hex
from packager.image import load_image
from packager.layout import Layout, load_layout
from packager.resources import layouts
from packager.update_file import read_update_file

PRODUCTS = {
    "rom": "h743zi_app_bank2",
    "mirror": "h743zi_app_bank1",
    "protected": "h743_protected",
}
"""Folder of each product, and the layout it is a copy of."""


def main() -> None:
    """Make every product."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    prepare(folder, list(PRODUCTS))


def prepare(folder: Path, products: list[str]) -> None:
    """Make keys and the named products; whatever is wrong ends the program."""
    _splitflash("keygen", str(folder / "keys"))
    for name in products:
        prepare_product(folder / name, folder / "keys", layouts() / f"{PRODUCTS[name]}.yaml")


def prepare_product(home: Path, keys: Path, layout_file: Path) -> None:
    """Make the files of one product."""
    home.mkdir()
    product = home / "product.yaml"
    product.write_text(layout_file.read_text(encoding="utf-8"), encoding="utf-8")
    layout = load_layout(product)
    old, new = (build_example(version, layout, home) for version in ("1.0.0", "2.0.0"))
    large = home / "large.bin"
    large.write_bytes(_largest(load_image(new, layout).data, layout))
    common = ("--layout", str(product), "--keys", str(keys))
    factory = home / "factory_SECRET.hex"

    _splitflash("loader", "build", *common, "-o", str(home / "loader"))
    loader = ("--loader", str(home / "loader" / "loader_SECRET.elf"))
    first = ("--version", "1.0.0", "--counter", "1")
    _splitflash("factory", "build", str(old), *common, *loader, *first, "-o", str(factory))
    for form in ("hex", "bin", "dfu"):
        out = ("-o", str(home / f"update-2.0.0.{form}"))
        _splitflash("pack", str(new), *common, "--version", "2.0.0", "--counter", "1", *out)
    for app, version, counter, stem in (
        (old, "1.0.1", "1", "update-1.0.1"),
        (large, "3.0.0", "1", "update-large"),
        (old, "1.0.0", "0", "update-too-old"),
    ):
        out = ("-o", str(home / f"{stem}.hex"))
        _splitflash("pack", str(app), *common, "--version", version, "--counter", counter, *out)
    _damage(home / "update-2.0.0.hex", home / "update-damaged.hex")


def _splitflash(*arguments: str) -> None:
    code = run(arguments)
    if code:
        sys.exit(code)


def _largest(image: bytes, layout: Layout) -> bytes:
    """Return the application filled up with noise to the largest image an update can carry."""
    noise = random.Random(1).randbytes(layout.largest_image)
    return image + noise[len(image) :]


def _damage(good: Path, bad: Path) -> None:
    """Write an update with one wrong bit in its payload."""
    update = read_update_file(good)
    data = bytearray(update.data)
    data[HEADER_SIZE] ^= 1
    bad.write_bytes(write_hex({update.address: bytes(data)}))


if __name__ == "__main__":
    main()
