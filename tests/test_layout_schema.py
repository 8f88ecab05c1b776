"""The JSON Schema and the reference of layouts: current, and in step with the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bad_layouts import BAD_LAYOUTS
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from packager.chip import CHIPS
from packager.cli import run
from packager.layout_keys import KEYS, Key, Named, Section
from packager.layout_kinds import Kind, Unfit
from packager.layout_schema import EDITOR_LINE, SCHEMA_FILE, reference_text, schema_text
from packager.vectors import STACK_RAM

LAYOUTS = Path(__file__).parent.parent / "layouts"
SHIPPED = sorted(LAYOUTS.glob("*.yaml"))
SCHEMA = json.loads(schema_text())
_FIRST, _, DEFAULT = (LAYOUTS / "h743zi_app_bank2.yaml").read_text().partition("\n")


def plain(text: str) -> Any:
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text)))


def is_valid(text: str) -> bool:
    return jsonschema.Draft7Validator(SCHEMA).is_valid(plain(text))


def test_the_schema_beside_the_layouts_is_current() -> None:
    assert (LAYOUTS / SCHEMA_FILE).read_text() == schema_text(), (
        f"run: splitflash layout schema > layouts/{SCHEMA_FILE}"
    )


def test_the_reference_in_the_readme_of_the_layouts_is_current() -> None:
    text = (LAYOUTS / "README.md").read_text()
    _, _, rest = text.partition("<!-- made by: splitflash layout schema --reference -->\n")

    assert rest.partition("<!-- end -->")[0] == reference_text()


def test_the_readme_of_the_layouts_lists_every_one() -> None:
    text = (LAYOUTS / "README.md").read_text()

    for path in SHIPPED:
        assert f"`{path.name}`" in text


def test_the_command_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layout", "schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    assert run(["layout", "schema", "--reference"]) == 0
    assert capsys.readouterr().out == reference_text()


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_layout_is_valid_and_names_the_schema(path: Path) -> None:
    assert path.read_text().startswith(EDITOR_LINE + "\n")
    assert is_valid(path.read_text())


def kinds() -> list[tuple[str, Kind]]:
    found: list[tuple[str, Kind]] = []
    for name, entry in KEYS.items():
        match entry:
            case Section(keys, _):
                found += [(f"{name}.{key}", keys[key].kind) for key in keys]
            case Key(kind) | Named(kind):
                found.append((name, kind))
    return found


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.integers(-(2**33), 2**33)
    | st.sampled_from(
        [0x3800_0000, 2700, 2**32 - 1, 2**32, *CHIPS, "off", "crc", "rom", "128K", *STACK_RAM]
    )
    | st.text(max_size=20)
    | st.from_regex(r"[a-z0-9._-]{0,18}", fullmatch=True)
    | st.lists(st.integers(), max_size=2)
    | st.fixed_dictionaries(
        {},
        optional={
            "start": st.integers(-1, 2**32) | st.text(max_size=3),
            "size": st.integers(-1, 2**32) | st.from_regex(r"[0-9]{0,9} ?[KMG](iB)?"),
            "end": st.just(1),
        },
    )
)


@pytest.mark.parametrize(("name", "kind"), kinds(), ids=[name for name, _ in kinds()])
@given(value=VALUES)
@example(value={"start": 0, "size": "0K"})
@example(value={"start": 0, "size": "4096M"})
@example(value={"start": 0, "size": "128KiB"})
def test_reader_and_schema_accept_the_same_values(name: str, kind: Kind, value: Any) -> None:
    del name
    try:
        kind.read(value)
        read = True
    except Unfit:
        read = False

    assert jsonschema.Draft7Validator(kind.schema).is_valid(value) == read


SINGLE = ("found", "unknown key", "missing", "name ", "'stm32")


@pytest.mark.parametrize("row", BAD_LAYOUTS, ids=[row[0] for row in BAD_LAYOUTS])
def test_an_editor_sees_every_problem_of_a_single_key(
    row: tuple[str, str, str, list[str]],
) -> None:
    _, old, new, problems = row
    single = [p for p in problems if p.split(": ", 2)[2].lower().startswith(SINGLE)]
    if any("result_record" in problem and "32-byte" in problem for problem in single):
        return  # whether there is RAM depends on the chip

    assert is_valid(DEFAULT.replace(old, new)) == (not single)
