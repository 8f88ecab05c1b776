"""``cached_compiler.py FOLDER COMPILER ARGUMENTS...``: compiles each source text once.

What is compiled again with the same text and the same headers beside it is copied from ``FOLDER``.
Mutants share nearly all of their sources, so only what was changed costs time. Paths count for
nothing: the flags map them away. Started for every file: imports as little as it can.
"""
# ruff: noqa: PTH105, PTH110, PTH112, PTH118, PTH119, PTH123, PTH208

import hashlib
import os
import sys


def main(folder: str, command: list[str]) -> int:
    if "-c" not in command:
        return run(command)
    source, out = (command[command.index(flag) + 1] for flag in ("-c", "-o"))
    kept = os.path.join(folder, key_of(source, command))
    if not os.path.exists(kept):
        status = run(command)
        if status:
            return status
        fresh = f"{kept}.{os.getpid()}"
        write(fresh, read(out))
        os.replace(fresh, kept)
    else:
        write(out, read(kept))
    return 0


def run(command: list[str]) -> int:
    return os.spawnvp(os.P_WAIT, command[0], command)


def key_of(source: str, command: list[str]) -> str:
    digest = hashlib.sha256(command[0].encode())
    for word in command:
        if os.sep not in word:
            digest.update(word.encode() + b"\0")
    for path in [source, *headers(command)]:
        digest.update(os.path.basename(path).encode() + b"\0" + read(path) + b"\0")
    return digest.hexdigest()


def headers(command: list[str]) -> list[str]:
    found = []
    for folder in (word[2:] for word in command if word.startswith("-I")):
        for inner in (folder, os.path.join(folder, "crypto")):
            names = sorted(os.listdir(inner)) if os.path.isdir(inner) else []
            found += [os.path.join(inner, name) for name in names if name.endswith(".h")]
    return found


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
