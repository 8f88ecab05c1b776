"""The committed vectors: this package, and the independent reader, must find the same in them."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import make_vectors
import pytest
import reference_open
from cryptography.exceptions import InvalidSignature, InvalidTag
from make_vectors import FOLDER, VECTORS
from material import image, key_set
from refusals import CASES, Case

from packager import keys
from packager.layout import load_layout
from packager.reasons import Reason
from packager.update import Secrets, build_update, open_update, seal_update, update_id

FACTS = json.loads((FOLDER / "vectors.json").read_text())
PUBLISHED = keys.published_test_keys()


def by_file(facts: dict[str, Any]) -> str:
    return str(facts["file"])


@pytest.mark.parametrize("facts", FACTS, ids=by_file)
def test_a_vector_opens_to_its_image_with_every_recipient(facts: dict[str, Any]) -> None:
    data = (FOLDER / facts["file"]).read_bytes()
    layout = load_layout(FOLDER / facts["layout"])
    signer = PUBLISHED[facts["signer"]]
    for name in facts["recipients"]:
        device = PUBLISHED[name]
        assert isinstance(device, keys.DeviceKey)

        opened = open_update(data, [keys.VerifyKey("v", signer.public)], [device], layout)

        assert hashlib.sha256(opened.image).hexdigest() == facts["image_sha256"]
        assert opened.header.version == facts["version"]
        assert opened.header.security_counter == facts["security_counter"]


@pytest.mark.parametrize("facts", FACTS, ids=by_file)
def test_the_independent_reader_finds_the_same(facts: dict[str, Any]) -> None:
    data = (FOLDER / facts["file"]).read_bytes()
    for name in facts["recipients"]:
        found = reference_open.open_update(
            data, PUBLISHED[facts["signer"]].public, PUBLISHED[name].secret
        )

        assert hashlib.sha256(found["image"]).hexdigest() == facts["image_sha256"]
        assert found["update_id"].hex() == facts["update_id"] == update_id(data).hex()
        for field in ("version", "security_counter", "flags", "chunk_size", "image_size"):
            assert found[field] == facts[field]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_vectors_are_what_the_script_makes(vector: make_vectors.Vector) -> None:
    data, facts = make_vectors.make(vector)

    assert (FOLDER / facts["file"]).read_bytes() == data
    assert facts in FACTS


def test_the_vectors_hold_no_key_of_their_own() -> None:
    text = (FOLDER / "vectors.json").read_text()

    assert not any(key.secret.hex() in text for key in PUBLISHED.values())


def test_the_independent_reader_imports_nothing_of_the_package() -> None:
    source = (Path(__file__).parent / "reference_open.py").read_text()
    names = {
        alias.name if isinstance(node, ast.Import) else node.module or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert not any(name.startswith(("packager", "construct", "material")) for name in names)


@pytest.mark.parametrize("size", [12, 1023, 1024, 1025, 16_384, 16_385, 100_000])
def test_both_readers_agree_on_fresh_updates(size: int) -> None:
    own = key_set()
    made = build_update(
        image(size), own.plan().layout, own.signing[0], own.recipients, version=1, counter=0
    )

    for device in own.device:
        found = reference_open.open_update(made, own.signing[0].public, device.secret)
        assert found["image"] == image(size)


NEEDS_LAYOUT = (Reason.PRODUCT, Reason.CHIP, Reason.LAYOUT, Reason.ADDRESS)
"""The independent reader knows no layout: what is for another device it opens."""


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.reason not in NEEDS_LAYOUT], ids=lambda case: case.name
)
def test_the_independent_reader_takes_nothing_that_the_package_refuses(case: Case) -> None:
    own = key_set()
    good = seal_update(image(5000), own.plan(chunk_size=1024), Secrets.draw())
    wrong = case.make(good, own.signing[0])

    with pytest.raises((AssertionError, InvalidSignature, InvalidTag, StopIteration, ValueError)):
        reference_open.open_update(wrong, own.signing[0].public, own.device[0].secret)
