"""The loader's own DFU over USB/IP: attached, written to, left, and gone by itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import workshop
from bus.test_usbip import attached, served
from bus.usbip_client import Attached

from packager.dfu.protocol import DfuSe
from packager.dfu.staging import prepare_drop, run_plan
from packager.sim.board import Outcome

from .otg_scene import LAYOUT, Product


@pytest.fixture(scope="module")
def product(build: workshop.Build) -> Product:
    return Product(build(LAYOUT))


@pytest.mark.parametrize("stays", [True, False])
def test_a_board_in_its_loader_is_attached_written_and_leaves_by_itself(
    product: Product, stays: bool
) -> None:
    board = product.in_dfu(1)
    with served(board) as server, attached(server) as host:
        client = DfuSe(host, is_loader=True)
        client.to_idle()
        run_plan(prepare_drop(product.update, client), client)
        client.leave(product.layout.staging.start)
        if not stays:
            host.close()
        server.thread.join(10)
        assert not server.thread.is_alive()
    assert board.go_on().outcome is Outcome.APP_RUNS
    assert product.shop.app_is(board, product.new)


def test_the_command_serves_a_protected_board_and_installs(
    product: Product, tmp_path: Path
) -> None:
    board = product.board(2)
    path = tmp_path / "board.sim"
    board.save(path)
    words = [sys.executable, "-m", "packager", "sim", "serve", "board.sim", "--usbip"]
    with subprocess.Popen(
        [*words, "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        killer = threading.Timer(60.0, process.kill)
        killer.start()
        try:
            assert process.stdout
            first = process.stdout.readline()
            assert "board.sim: its loader, at 127.0.0.1 port " in first
            port = int(first.split(" port ")[1].split(";")[0])
            with DfuSe(Attached(("127.0.0.1", port)), is_loader=True) as client:
                client.to_idle()
                run_plan(prepare_drop(product.update, client), client)
                client.leave(product.layout.staging.start)
            said = process.stdout.read()
            assert process.wait() == 0
        finally:
            killer.cancel()
            process.kill()
    assert "it went on: app-runs\n" in said
