"""The keys of a layout for editors (JSON Schema, draft 7) and for readers (Markdown).

Both are made from :data:`packager.layout_keys.KEYS`, and committed in ``layouts/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from packager.chip import CHIPS, KIB, SECTOR_SIZE, UNSUPPORTED, Chip
from packager.layout_keys import KEYS, NAME, REQUIRED, Key, Named, Section
from packager.layout_kinds import Schema
from packager.vectors import stack_ram

SCHEMA_FILE = "layout.schema.json"
EDITOR_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}"
"""First line of a layout beside the schema: editors then complete and check it."""

_Entry = Key | Section | Named


def schema_text() -> str:
    """Return the JSON Schema as it is committed."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "splitflash flash layout",
        **_mapping_schema(KEYS),
    }
    return json.dumps(schema, indent=2) + "\n"


def reference_text() -> str:
    """Return the tables of all keys and of all chips, in Markdown."""
    keys = ["| key | takes | when left out | meaning |", "|---|---|---|---|", *_rows("", KEYS)]
    chips = [
        "| chip | flash | a bank | bank 2 | RAM that `app_ram` may name | unique id |",
        "|---|---|---|---|---|---|",
        *(_chip_row(chip) for chip in CHIPS.values()),
    ]
    others = ["| cannot be used | because |", "|---|---|", *_unsupported_rows()]
    return "\n".join([*keys, "", *chips, "", *others, ""])


def _mapping_schema(keys: Mapping[str, _Entry]) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": {name: _schema(entry) for name, entry in keys.items()},
    }
    required = [name for name, entry in keys.items() if _is_required(entry)]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _schema(entry: _Entry) -> Schema:
    match entry:
        case Key(kind, doc, default):
            schema = {"description": _plain(doc), **kind.schema}
            return schema if default in (REQUIRED, None) else {**schema, "default": default}
        case Section(keys, doc):
            return {"description": _plain(doc), **_mapping_schema(keys)}
        case Named(kind, doc, taken):
            names = {"pattern": f"^{NAME}$", "not": {"enum": list(taken)}}
            values = {"propertyNames": names, "additionalProperties": kind.schema}
            return {"description": _plain(doc), "type": "object", **values}


def _is_required(entry: _Entry) -> bool:
    if isinstance(entry, Section):
        return entry.is_required
    return isinstance(entry, Key) and entry.default is REQUIRED


def _rows(prefix: str, keys: Mapping[str, _Entry]) -> Iterator[str]:
    for name, entry in keys.items():
        match entry:
            case Key(kind, doc, default):
                yield _row(f"{prefix}{name}", kind.wanted, _default(default, kind.digits), doc)
            case Section(below, doc):
                default = "required" if entry.is_required else "none"
                yield _row(f"{prefix}{name}", "the keys below", default, doc)
                yield from _rows(f"{prefix}{name}.", below)
            case Named(kind, doc):
                yield _row(f"{prefix}{name}.NAME", kind.wanted, "none", doc)


def _row(key: str, takes: str, default: str, doc: str) -> str:
    return f"| `{key}` | {takes} | {default} | {doc} |"


def _default(value: Any, digits: int) -> str:
    if value is REQUIRED:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`0x{value:0{digits}X}`" if digits else f"`{value}`"


def _chip_row(chip: Chip) -> str:
    ram = ", ".join(f"{ram.name} {ram.span.size // KIB} KiB" for ram in stack_ram(chip))
    unique_id = f"0x{chip.unique_id.start:08X}, {8 * chip.unique_id.size} bits"
    return (
        f"| `{chip.name}` | {chip.flash_kib} KiB | {chip.sectors_per_bank} sectors of"
        f" {SECTOR_SIZE // KIB} KiB | 0x{chip.banks[1].start:08X} | {ram} | {unique_id} |"
    )


def _unsupported_rows() -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name, (reason, _) in UNSUPPORTED.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    for reason, names in reasons.items():
        yield f"| {', '.join(names)} | {reason} |"


def _plain(doc: str) -> str:
    return doc.replace("`", "")
