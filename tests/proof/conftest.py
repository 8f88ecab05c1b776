"""Fixtures of the proofs."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof.stories import Stage


@pytest.fixture(scope="session")
def stage(session_folder: Path) -> Stage:
    """The products of this session."""
    return Stage(session_folder / "proof")
