"""What is missing is skipped, or fails where every tool must be there."""

from __future__ import annotations

import sys

import pytest

from . import mocked_bus
from .conftest import missing


def test_a_missing_tool_is_a_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPLITFLASH_TEST_ALL_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="dfu-util"):
        missing("dfu-util is not installed")


def test_a_missing_tool_fails_where_every_tool_must_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPLITFLASH_TEST_ALL_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="dfu-util"):
        missing("dfu-util is not installed")


def test_a_bus_without_its_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mocked_bus, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(mocked_bus.BusMissing, match="umockdev"):
        mocked_bus.introspection(None)  # type: ignore[arg-type]
