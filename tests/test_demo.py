"""The demo: what it tells is checked, and a lie stops it."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop
from click.testing import CliRunner

from packager import demo
from packager.cli import cli


@pytest.mark.parametrize("tool", ["gcc", "zig"])
def test_the_demo_ends_with_version_2_running_and_every_claim_checked(
    tmp_path: Path, tool: str
) -> None:
    workshop.needs(tool)
    lines: list[str] = []

    claims = demo.run_demo(tmp_path, lines.append, tool)

    text = "\n".join(lines)
    assert claims >= 15
    assert "serial port: example application 2.0.0" in text
    assert "the loader says: the payload in staging is incomplete or altered" in text
    assert "at the next power-on version 2.0.0 runs" in text


def test_the_command_leaves_nothing_behind_and_exits_with_0() -> None:
    result = CliRunner().invoke(cli, ["demo"])

    assert result.exit_code == 0, result.output
    assert "all true" in result.output


def test_a_claim_that_is_not_true_stops_the_demo() -> None:
    story = demo.Story(lambda line: None)

    with pytest.raises(demo.DemoError, match="not true: the moon is a cheese"):
        story.check("the moon is a cheese", is_true=False)
