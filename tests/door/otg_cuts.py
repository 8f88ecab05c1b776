"""Power cuts while a host writes over the loader's USB and while the loader installs what it got.

After a cut the device must start, with the old application or the new one, and take the update
when it is dropped once more. ``python -m door.otg_cuts STRIDE [FIRST]`` (from the folder ``tests``)
cuts at every STRIDE-th flash operation, before, in and after it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from packager.sim.board import Board, Outcome
from packager.sim.core_usb import CoreUsb
from packager.sim.operations import Flavour
from packager.sim.usb import Gone

from .otg_scene import MANIFEST, Host, Product


def drop_and_install(product: Product, board: Board, device: CoreUsb) -> Outcome:
    """Drop, leave, and go on; POWER_CUT if that is what came between."""
    host = Host(device)
    try:
        host.drop(product.layout.staging.start, product.update)
        assert host.leave().state == MANIFEST
    except Gone:
        assert device.power_cut is not None
    return board.go_on(app_seconds=0.001).outcome


def operations(product: Product) -> int:
    """Return how many flash operations a drop and its installation take."""
    board = product.board(1)
    assert drop_and_install(product, board, product.enter(board)) is Outcome.APP_RUNS
    return len(board.flash.operations)


def survives(product: Product, cut: str) -> bytes:
    """Cut the power, look what runs, drop again; return the image that ran in between."""
    board = product.board(1)
    outcome = drop_and_install(product, board, product.enter(board, cut=cut))
    assert outcome is Outcome.POWER_CUT, (cut, outcome)
    runs = product.runs(board)
    assert runs is not None, f"{cut}: nothing runs"
    again = drop_and_install(product, board, product.enter(board))
    assert again is Outcome.APP_RUNS, cut
    assert product.shop.app_is(board, product.new), cut
    return runs


def main() -> None:
    """Sweep from the command line."""
    import workshop

    stride, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        layout = workshop.layout_named("h743_protected")
        tool = workshop.toolchain.installed()[0]
        product = Product(workshop.make_workshop(Path(folder), layout, tool))
        total, done, news = operations(product), 0, 0
        for index in range(first, total + 1, stride):
            for flavour in Flavour:
                news += survives(product, f"{index}-{flavour}") == product.new
                done += 1
    sys.stdout.write(
        f"{total} operations, {done} cuts, 0 bricked, {news} ran the new one at once\n"
    )


if __name__ == "__main__":
    main()
