"""Fuzzes the loader's own C code, compiled for this machine with sanitizers, under libFuzzer.

Four targets over the very sources of the shipped loader, with a flash in memory behind ``flash.h``:

* ``look``: staging holds the fuzzer's bytes; a stand-in for signature and key agreement, chosen by
  file, lets millions of runs get behind the signature. An oracle says what must be installed.
* ``look-signed``: the same with the loader's real Ed25519 and X25519; slower, so a small share.
* ``marks``: marks sector and carry area hold the fuzzer's bytes; appending, refusing, emptying,
  failing operations and power cuts.
* ``decide``: decision table and vector check with any words at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from packager import crypto, resources
from packager.keys import DeviceKey, Recipient, SigningKey, VerifyKey
from packager.layout import Layout, load_layout
from packager.loader_parts import LoaderKeys, describe, render_config, render_keys
from packager.monocypher import FLAGS, find_monocypher
from packager.reasons import Reason
from packager.records import AppState, MarkRecord, RecordType, build_record
from packager.update import (
    Floor,
    Refusal,
    Secrets,
    UpdatePlan,
    open_update,
    seal_update,
)

FOLDER = Path(__file__).parent.parent / "fuzz"
SHARES = {"decide": 0.20, "marks": 0.20, "look": 0.58, "look-signed": 0.02}
"""How a number of executions is divided."""
MAX_LENGTH = {"decide": 64, "marks": 2048, "look": 6144, "look-signed": 6144}
HARNESS = {
    "decide": ("fuzz_decide.c", "port.c"),
    "marks": ("fuzz_marks.c", "port.c"),
    "look": ("fuzz_look.c", "port.c", "oracle.c", "signer_quick.c"),
    "look-signed": ("fuzz_look.c", "port.c", "oracle.c", "signer_real.c"),
}
LOADER = {
    "decide": ("decide.c", "app.c", "unproven_refused.c", "crc32.c", "mem.c"),
    "marks": ("mark.c", "crc32.c", "mem.c"),
    "look": ("update.c", "app.c", "crc32.c", "mem.c", "crypto/sha512.c", "crypto/hkdf.c"),
}
LOADER["look"] += ("crypto/aead.c", "unproven_refused.c", "indicator_none.c")
LOADER["look-signed"] = (*LOADER["look"], "crypto/ed25519.c", "crypto/x25519.c")
SANITIZERS = "address,undefined"
STRICT = ("-Wall", "-Wextra", "-Werror")
RENAMED = tuple(f"-D{name}=own_{name}" for name in ("memcpy", "memmove", "memset", "memcmp"))
"""The loader's memory functions, out of the way of those the sanitizer watches."""
_FIXED_ADDRESSES = (SETARCH, "-R") if (SETARCH := shutil.which("setarch")) else ()
"""libFuzzer learns from compared values, addresses among them: else no run is like another."""
_DONE = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_TALLY = re.compile(r"^TALLY none (\d+) authentic (\d+)(.*)$", re.MULTILINE)
_FINDING = re.compile(
    r"^(WRONGLY ACCEPTED|BROKEN PROMISE|SUMMARY|.*runtime error).*$", re.MULTILINE
)
_LAST_COUNT = re.compile(r"^#(\d+)", re.MULTILINE)


class FuzzerMissing(Exception):
    """Clang, or its libFuzzer, is not installed."""


@dataclass(frozen=True)
class FuzzTally:
    """What came of it; everything but ``executions`` and ``authentic`` should be 0."""

    executions: int
    crashes: int
    """Sanitizer reports, and promises broken that are no acceptance."""
    hangs: int
    accepted: int
    """Updates that were accepted and must not be."""
    authentic: int
    """Updates that were accepted rightly: the fuzzers came all the way."""
    reasons: Counter[Reason] = field(default_factory=Counter)
    """How often each refusal was met."""
    findings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: FuzzTally) -> FuzzTally:
        return FuzzTally(
            self.executions + other.executions,
            self.crashes + other.crashes,
            self.hangs + other.hangs,
            self.accepted + other.accepted,
            self.authentic + other.authentic,
            self.reasons + other.reasons,
            self.findings + other.findings,
            {**self.seconds, **other.seconds},
        )


@dataclass(frozen=True)
class Product:
    """Layout and keys of the fuzzers: always the same, so that a finding can be run again."""

    layout: Layout
    signing: tuple[SigningKey, ...]
    device: tuple[DeviceKey, ...]
    ephemeral: bytes
    cek: bytes

    @classmethod
    def make(cls) -> Product:
        signing = [_derived(f"signing {number}") for number in range(2)]
        device = [_derived(f"device {number}") for number in range(2)]
        return cls(
            load_layout(resources.layouts() / "h743zi_app_bank2.yaml"),
            tuple(SigningKey("fuzz", key, crypto.verify_key_of(key)) for key in signing),
            tuple(DeviceKey("fuzz", key, crypto.public_key_of(key)) for key in device),
            _derived("ephemeral"),
            _derived("content key"),
        )

    @property
    def loader_keys(self) -> LoaderKeys:
        return LoaderKeys(tuple(VerifyKey("fuzz", key.public) for key in self.signing), self.device)

    def config(self) -> str:
        """Return ``config.c`` as the packager generates it."""
        held = self.loader_keys
        return render_config(describe(self.layout, held.ids, dev=False)) + render_keys(held)

    def material(self) -> str:
        """Return the C file with what only the fuzzers know."""
        secrets = b"".join(key.secret for key in self.signing)
        return "\n".join(
            [
                '#include "signer.h"',
                f"const uint8_t fuzz_signing_secrets[2][32] = {{{_nested(secrets)}}};",
                f"const uint8_t fuzz_ephemeral_secret[32] = {{{_bytes(self.ephemeral)}}};",
                "const uint8_t fuzz_ephemeral_public[32] = "
                f"{{{_bytes(crypto.public_key_of(self.ephemeral))}}};",
                f"const uint8_t fuzz_cek[32] = {{{_bytes(self.cek)}}};",
                "",
            ]
        )

    def update(self, size: int, chunk_size: int = 1024, flags: int = 0, count: int = 1) -> bytes:
        """Return a real update for this product."""
        start = self.layout.app.start
        vectors = (0x2002_0000).to_bytes(4, "little") + (start + 9).to_bytes(4, "little")
        image = (vectors + hashlib.shake_128(b"fuzz").digest(size))[:size]
        recipients = tuple(Recipient("fuzz", key.public) for key in self.device[:count])
        plan = UpdatePlan(
            self.layout, self.signing[0], recipients, 0x0102_0003, 7, flags, chunk_size
        )
        nonce = _derived("nonce")[:12]
        return seal_update(image, plan, Secrets(self.cek, nonce, self.ephemeral))

    def reason_for(self, data: bytes) -> tuple[str, Reason]:
        """Return what the packager says to one input of the ``look`` targets."""
        counter, version = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
        # what lies behind the bytes of the input is blank flash
        staged = data[16:].ljust(self.layout.staging.size, b"\xff")
        keys = self.loader_keys
        try:
            floor = Floor(counter, version)
            open_update(staged, keys.verify, keys.device, self.layout, floor=floor)
        except Refusal as refusal:
            kind = "none" if refusal.reason is Reason.NONE else "refused"
            return kind, refusal.reason
        return "authentic", Reason.NONE


def run(
    executions: int,
    *,
    folder: Path | None = None,
    sources: Path | None = None,
    seed: int = 1,
    only: tuple[str, ...] = tuple(SHARES),
) -> FuzzTally:
    """Build the targets and run about ``executions`` inputs through them, on two cores.

    ``folder`` keeps corpus and findings; ``sources`` is another ``mcu_loader`` than the shipped.

    Raises:
        FuzzerMissing: no clang with libFuzzer.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="splitflash-fuzz-") as name:
            return run(executions, folder=Path(name), sources=sources, seed=seed, only=only)
    programs = build(folder, sources, only)
    jobs = list(_jobs(executions, programs, folder, seed))
    with ThreadPoolExecutor(2) as pool:
        tallies = list(pool.map(lambda job: job.run(), jobs))
    return sum(tallies, FuzzTally(0, 0, 0, 0, 0))


def build(
    folder: Path, sources: Path | None = None, only: tuple[str, ...] = tuple(SHARES)
) -> dict[str, Path]:
    """Compile the targets into ``folder`` and return them by name.

    Raises:
        FuzzerMissing: no clang with libFuzzer.
    """
    if not shutil.which("clang"):
        raise FuzzerMissing("clang is not installed (packages clang and libclang-rt-14-dev)")
    product = Product.make()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.c").write_text(product.config())
    (folder / "material.c").write_text(product.material())
    builder = _Builder(folder, sources or resources.loader_sources(), find_monocypher())
    return builder.programs(only)


def write_seeds(folder: Path) -> None:
    """Write the inputs that the ``look`` and ``marks`` targets start from."""
    product = Product.make()
    look, marks = folder / "look", folder / "marks"
    for corpus in (look, marks, folder / "decide", folder / "look-signed"):
        corpus.mkdir(parents=True, exist_ok=True)
    (folder / "decide" / "zeros").write_bytes(bytes(32))
    preamble = bytes(8) + b"\xff" * 4 + bytes(4)
    for number, (size, chunk, flags, count) in enumerate(
        [(12, 1024, 0, 1), (1024, 1024, 1, 2), (2500, 1024, 0, 1), (3000, 2048, 0, 2)]
    ):
        update = preamble + product.update(size, chunk, flags, count)
        (look / f"update{number}").write_bytes(update)
        (folder / "look-signed" / f"update{number}").write_bytes(update)
    for number, kind in enumerate(RecordType):
        record = build_record(_record(kind, number + 1))
        run_of_two = (1 | 1 << 3 | 1 << 15).to_bytes(2, "little")
        carried = (1 | 4 | 1 << 15).to_bytes(2, "little")
        steps = bytes([4, 6, 9, 2, 7, 12, 0, 0, 0, 1, 2, 3])
        (marks / f"record{number}").write_bytes(steps + run_of_two + record + carried + record)
        many = (1 | 900 << 3).to_bytes(2, "little")
        (marks / f"full{number}").write_bytes(steps + many + record)


@dataclass(frozen=True)
class _Builder:
    """Compiles every file once, whichever targets need it."""

    folder: Path
    loader: Path
    monocypher: Path

    def programs(self, names: tuple[str, ...]) -> dict[str, Path]:
        needed = {name: list(self._parts(name)) for name in names}
        every = sorted({part for parts in needed.values() for part in parts})
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._compile, every))
            linked = pool.map(lambda name: self._link(name, needed[name]), names)
            return dict(zip(names, linked, strict=True))

    def _parts(self, name: str) -> Iterator[_Part]:
        for part in HARNESS[name]:
            yield _Part(str(FOLDER / part), (f"-fsanitize={SANITIZERS}", *STRICT))
        for part in LOADER[name]:
            renamed = RENAMED if part == "mem.c" else ()
            watched = f"-fsanitize={SANITIZERS},fuzzer-no-link"
            yield _Part(str(self.loader / part), (watched, *STRICT, *renamed))
        yield _Part(str(self.folder / "config.c"), (f"-fsanitize={SANITIZERS}",))
        if name.startswith("look"):
            yield _Part(str(self.folder / "material.c"), ())
        if name == "look-signed":
            sanitized = (f"-fsanitize={SANITIZERS}", "-w", *FLAGS)
            yield _Part(str(self.monocypher / "monocypher.c"), sanitized)
        elif name != "marks":
            yield _Part(str(self.monocypher / "monocypher.c"), ("-w", *FLAGS), "quick_")

    def _link(self, name: str, parts: list[_Part]) -> Path:
        target = self.folder / f"fuzz-{name}"
        objects = [str(part.target(self.folder)) for part in parts]
        _clang(f"-fsanitize=fuzzer,{SANITIZERS}", *objects, "-o", str(target))
        return target

    def _compile(self, part: _Part) -> None:
        _clang(
            *("-std=c11", "-O2", "-g", "-fno-strict-aliasing", "-D_POSIX_C_SOURCE=200809L"),
            *("-fno-builtin", "-fno-sanitize-recover=undefined"),
            *(f"-I{path}" for path in (FOLDER, self.loader, self.monocypher)),
            *part.flags,
            *("-c", part.source, "-o", str(part.target(self.folder))),
        )


@dataclass(frozen=True, order=True)
class _Part:
    source: str
    flags: tuple[str, ...]
    prefix: str = ""

    def target(self, folder: Path) -> Path:
        return folder / f"{self.prefix}{Path(self.source).stem}.o"


@dataclass(frozen=True)
class _Job:
    name: str
    program: Path
    executions: int
    corpus: Path
    seed: int

    def run(self) -> FuzzTally:
        began = time.monotonic()
        artifacts = self.corpus.parent / f"findings-{self.name}-{self.seed}-"
        command = [
            *_FIXED_ADDRESSES,
            *(str(self.program), str(self.corpus)),
            *(f"-runs={self.executions}", f"-seed={self.seed}", "-timeout=10"),
            *(f"-max_len={MAX_LENGTH[self.name]}", "-len_control=0", "-detect_leaks=0"),
            f"-artifact_prefix={artifacts}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        seconds = {f"{self.name} {self.seed}": time.monotonic() - began}
        return self._tally(done.returncode, done.stderr, seconds)

    def _tally(self, code: int, said: str, seconds: dict[str, float]) -> FuzzTally:
        finished = _DONE.search(said)
        counts = _LAST_COUNT.findall(said)
        executions = int(finished[1]) if finished else int(counts[-1]) if counts else 0
        bad = code != 0 or not finished
        accepted = bad and "WRONGLY ACCEPTED" in said
        hang = bad and "ERROR: libFuzzer: timeout" in said
        tally = _TALLY.search(said)
        reasons: Counter[Reason] = Counter()
        for pair in tally[3].split() if tally else ():
            number, count = pair.split(":")
            reasons[Reason(int(number))] = int(count)
        findings: tuple[str, ...] = ()
        if bad:
            lines = [match[0] for match in _FINDING.finditer(said)] or said.splitlines()[-3:]
            findings = (f"{self.name}: {'; '.join(dict.fromkeys(lines))}",)
        return FuzzTally(
            executions,
            int(bad and not accepted and not hang),
            int(hang),
            int(accepted),
            int(tally[2]) if tally else 0,
            reasons,
            findings,
            seconds,
        )


def _jobs(executions: int, programs: dict[str, Path], folder: Path, seed: int) -> list[_Job]:
    """Return the runs, the longest first; the one with the largest share on both cores."""
    write_seeds(folder / "corpus")
    shares = {name: SHARES[name] for name in programs}
    whole = sum(shares.values())
    jobs = []
    for name, program in programs.items():
        count = max(1, round(executions * shares[name] / whole))
        parts = 2 if name == "look" else 1
        for part in range(parts):
            corpus = folder / "corpus" / name
            if part:
                corpus = folder / "corpus" / f"{name}-{part}"
                shutil.copytree(folder / "corpus" / name, corpus, dirs_exist_ok=True)
            jobs.append(_Job(name, program, -(-count // parts), corpus, seed + part))
    order = ("look", "look-signed", "marks", "decide")
    return sorted(jobs, key=lambda job: order.index(job.name))


def verdicts_of(program: Path, inputs: list[Path], folder: Path) -> list[tuple[str, Reason]]:
    """Return what a ``look`` target says to each input."""
    answers = {"2d4b78e1": "none", "4be12d87": "refused", "78d24e1b": "authentic"}
    out = folder / "verdicts"
    command = [str(program), f"--verdicts={out}", *map(str, inputs)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (line.split() for line in out.read_text().splitlines())
    said = {int(crc, 16): (answers[staged], Reason(int(why))) for crc, staged, why in lines}
    return [said[zlib.crc32(path.read_bytes())] for path in inputs]


def _record(kind: RecordType, sequence: int) -> MarkRecord:
    return MarkRecord(
        type=kind,
        sequence=sequence,
        floor_counter=7,
        floor_version=0x0102_0003,
        version=0x0102_0003,
        security_counter=7,
        image_size=1000,
        image_crc=1,
        update_id=bytes(32),
        image_digest=bytes(32),
        done_sectors=0,
        state=AppState.INSTALLED,
        reason=Reason.NONE,
        refused_run=0,
        refused_version=0,
        refused_key_id=bytes(8),
    )


def _derived(role: str) -> bytes:
    return hashlib.sha256(b"splitflash fuzzers, " + role.encode()).digest()


def _bytes(data: bytes) -> str:
    return ", ".join(f"0x{byte:02x}" for byte in data)


def _nested(data: bytes) -> str:
    return ", ".join(f"{{{_bytes(data[at : at + 32])}}}" for at in range(0, len(data), 32))


def _clang(*arguments: str) -> None:
    done = subprocess.run(["clang", *arguments], capture_output=True, text=True, env=_environment())
    if done.returncode:
        if "fuzzer" in done.stderr and "cannot find" in done.stderr:
            raise FuzzerMissing("libFuzzer is not installed (package libclang-rt-14-dev)")
        raise RuntimeError(done.stderr)


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
