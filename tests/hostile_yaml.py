"""Texts that a YAML reader may stumble over; each is a layout with something odd in it."""

from __future__ import annotations

from material import DEFAULT_LAYOUT

GOOD = DEFAULT_LAYOUT.read_text()


def with_rdp(text: str) -> str:
    """Return the default layout with another value, or more, in place of ``rdp: 0``."""
    return GOOD.replace("rdp: 0", text)


def laughs(leaf: str, again: str) -> str:
    """Return ten names, each for ten times the one before: 10 to the power of 10 leaves."""
    lines = [f"a0: &a0 {leaf}"]
    for n in range(1, 10):
        again_ten = ", ".join(again.format(key=f"k{i}", name=f"*a{n - 1}") for i in range(10))
        lines.append(
            f"a{n}: &a{n} " + (f"[{again_ten}]" if "{" not in leaf else f"{{{again_ten}}}")
        )
    return "\n".join(lines) + "\n"


HOSTILE: dict[str, str | bytes] = {
    "nested lists": with_rdp("rdp: " + "[" * 400 + "]" * 400),
    "open lists": "[" * 400,
    "open mappings": "{a: " * 400,
    "nested blocks": "\n".join(" " * depth + "a:" for depth in range(300)),
    "a number of 5000 digits": with_rdp("rdp: " + "9" * 5000),
    "a hexadecimal number of 60000 digits": with_rdp("rdp: 0x" + "F" * 60_000),
    "an octal number of 60000 digits": with_rdp("rdp: 0o" + "7" * 60_000),
    "a binary number": with_rdp("rdp: 0b" + "1" * 60_000),
    "a huge exponent": with_rdp("rdp: 1e999999999"),
    "infinity": with_rdp("rdp: .inf"),
    "not a number": with_rdp("rdp: .nan"),
    "a size of 50000 digits": GOOD.replace("size: 128K", "size: " + "9" * 50_000 + "K", 1),
    "a start of 50000 digits": GOOD.replace("0x08000000", "0x" + "9" * 50_000, 1),
    "a date that is none": with_rdp("rdp: 2024-99-99"),
    "a date": with_rdp("rdp: 2024-01-01"),
    "a time that is none": with_rdp("rdp: 2024-01-01T25:61:61Z"),
    "a billion laughs": laughs("[x, x]", "{name}") + with_rdp("rdp: *a9"),
    "a billion mappings": laughs("{k: x}", "{key}: {name}") + with_rdp("rdp: *a9"),
    "a billion laughs in a list": laughs("[x, x]", "{name}") + with_rdp("rdp: [*a9, {a: *a9}]"),
    "a billion laughs as a key": laughs("[x, x]", "{name}") + "? *a9\n: x\n",
    "a list in itself": with_rdp("rdp: &r [*r]"),
    "a mapping in itself": GOOD.replace("product: {", "product: &p {x: *p, "),
    "a name twice": "a: &a 1\nb: &a 2\n" + GOOD,
    "a name for nothing": "a: *b\n" + GOOD,
    "a merge of a number": "<<: 5\n" + GOOD,
    "a merge of a list": "<<: [1, {a: b}]\n" + GOOD,
    "a merge of itself": "a: &a\n  <<: *a\n" + GOOD,
    "a list as a key": "? [a, b]\n: c\n" + GOOD,
    "a mapping as a key": "? {a: b}\n: c\n" + GOOD,
    "odd keys": ": x\n~: 1\ntrue: 1\n1.5: 1\n.nan: 1\n2024-01-01: 1\n" + GOOD,
    "odd names of data": GOOD + "data: {? [x] : {start: 1, size: 1}, ~: 1, 1: 2, true: 3}\n",
    "an area of lists": GOOD + "data: {a: {start: [1], size: {a: b}}}\n",
    "an object of Python": with_rdp("rdp: !!python/object/apply:os.system ['true']"),
    "bytes that are none": with_rdp("rdp: !!binary '@@'"),
    "a set": with_rdp("rdp: !!set {a, b}"),
    "pairs": with_rdp("rdp: !!omap [a: 1]"),
    "pairs that are none": with_rdp("rdp: !!omap x"),
    "a tag of somebody's": with_rdp("rdp: !u {a: b}"),
    "a tag without a name": with_rdp("rdp: ! 0"),
    "a number that is none": with_rdp("rdp: !!int x"),
    "an empty number": with_rdp("rdp: !!int ''"),
    "a decimal that is none": with_rdp("rdp: !!float x"),
    "a boolean that is none": with_rdp("rdp: !!bool x"),
    "a moment that is none": with_rdp("rdp: !!timestamp x"),
    "a set at the top": "!!set {a, b}\n",
    "a tag at the top": "!x\n" + GOOD,
    "two documents": GOOD + "---\n" + GOOD,
    "a version of YAML to come": "%YAML 9.9\n---\n" + GOOD,
    "a version of YAML that is none": "%YAML x\n---\n" + GOOD,
    "YAML 1.1": "%YAML 1.1\n---\n" + with_rdp("rdp: 1:30"),
    "a prefix for tags": "%TAG ! tag:x,2000:\n---\n" + GOOD,
    "NUL": GOOD.replace("rdp", "r\0dp"),
    "a byte order mark": "\ufeff" + GOOD,
    "lines that end in NEL": GOOD.replace("\n", "\x85"),
    "lines that end in CR": GOOD.replace("\n", "\r"),
    "tabs": GOOD.replace("  ", "\t"),
    "digits of Arabic": with_rdp("rdp: \u0663"),
    "wide digits": GOOD.replace("128K", "\uff11\uff12\uff18K", 1),
    "a folded number": with_rdp("rdp: >\n  0"),
    "a text of nine": with_rdp("rdp: |9\n  0"),
    "an escape that is none": with_rdp('rdp: "\\xZZ"'),
    "a character beyond the last": with_rdp('rdp: "\\UFFFFFFFF"'),
    "half a character": with_rdp('rdp: "\\uD800"'),
    "a key of 60000 characters": "k" * 60_000 + ": 1\n",
    "300 unknown keys": "\n".join(f"k{n}: 1" for n in range(300)),
    "the same key 300 times": "a: 1\n" * 300,
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-32": GOOD.encode("utf-32"),
    "Latin-1": GOOD.replace("board", "bo\xe4rd").encode("latin-1"),
    "half a character of UTF-16": b"a: \xed\xa0\x80",
}
"""What is odd about it, and the file."""

HARMLESS = {
    "a tag without a name",
    "a tag at the top",
    "a prefix for tags",
    "a byte order mark",
    "lines that end in CR",
}
"""Odd, but the same layout."""
