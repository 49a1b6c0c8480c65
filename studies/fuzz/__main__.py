"""Feed a reader with what nobody would write, led by the code that it reaches, until so many inputs were tried.

    python -m studies.fuzz SURFACE... --state FOLDER [--executions 1000000]
    python -m studies.fuzz --state FOLDER                 what was tried so far, as a table

Needs atheris, which no other part of jetpress does. Everything happens in one process for each surface. Counts,
corpus and findings lie in FOLDER, so that a fuzzer that was stopped goes on. An input that ends in an error which is
none of ours is kept under the place that raised it, and the fuzzer goes on; one that takes longer than 10 s, or 512 MB
more than the process had before, ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

EXECUTIONS, SLOWEST_S, MOST_MB, LONGEST = 1_000_000, 10, 512, 8192
SAVED_S = 10.0
PART = 500_000
"""Executions of one process: what a library leaks ends with it."""
PLAIN = ["jetpress.deploy.onnx_file.wire"]
"""What is not watched: every byte of a model goes through it, and who calls it is watched."""
TAKEN = 500
"""Inputs that were not refused, the last ones: what is made from them gets further than what is made from others."""


@dataclass
class Tally:
    """What was tried of a surface."""

    executions: int = 0
    refused: int = 0
    cpu_seconds: float = 0.0
    slowest_seconds: float = 0.0
    """Of the processor, for one input."""
    grown_mb: float = 0.0
    """The largest resident memory of a process, above what it had when it began."""
    ended: list[str] = field(default_factory=list)
    """How processes ended that did not come to their end."""

    @classmethod
    def of(cls, state: Path, surface: str) -> Tally:
        """As it was when it was last written."""
        file = state / f"{surface}.json"
        return cls(**json.loads(file.read_text())) if file.exists() else cls()

    def keep(self, state: Path, surface: str) -> None:
        """Whole, or not at all."""
        draft = state / f".{surface}.json"
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(state / f"{surface}.json")


def fuzz(surface: str, state: Path, executions: int) -> None:
    """In this process, which ends."""
    import atheris  # type: ignore[import-untyped, unused-ignore]

    with atheris.instrument_imports(include=["jetpress"], exclude=PLAIN, enable_loader_override=False):
        from studies.fuzz.mutations import changed_bytes
        from studies.fuzz.surfaces import REFUSALS, SURFACES
    warnings.simplefilter("ignore")
    subject, tally = SURFACES[surface], Tally.of(state, surface)
    corpus, findings = state / surface / "corpus", state / surface / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = subject.seeds()
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    last, began = time.monotonic(), _megabytes()
    taken, roomy = deque(seeds, maxlen=TAKEN), 2 * max(map(len, seeds))

    def one(data: bytes) -> None:
        nonlocal last
        start = time.process_time()
        try:
            subject.read(data, place)
            if len(data) <= roomy:
                taken.append(data)
        except REFUSALS:
            tally.refused += 1
        except Exception as error:  # noqa: BLE001  that is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            file = findings / f"{type(error).__name__}-{Path(where.filename).stem}-{where.lineno}"
            if not file.exists() or file.stat().st_size > len(data):
                file.write_bytes(data)
        spent = time.process_time() - start
        tally.executions += 1
        tally.cpu_seconds += spent
        tally.slowest_seconds = max(tally.slowest_seconds, spent)
        tally.grown_mb = max(tally.grown_mb, _megabytes() - began)
        if time.monotonic() - last > SAVED_S or tally.executions >= goal:
            tally.keep(state, surface)
            last = time.monotonic()
        if tally.executions >= goal:
            os._exit(0)

    def changed(data: bytes, longest: int, seed: int) -> bytes:
        dice = random.Random(seed)  # noqa: S311
        kind, begin = dice.random(), dice.random()
        data = dice.choice(seeds) if begin < 0.3 else dice.choice(taken) if begin < 0.6 else data
        new = (
            subject.changed(data, dice) if kind < 0.7 else changed_bytes(data, dice) if kind < 0.85 else None
        )
        return bytes(new)[:longest] if new else bytes(atheris.Mutate(data, longest))

    goal = min(executions, tally.executions + PART)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        place = Path(scratch)
        limits = [f"-timeout={SLOWEST_S}", f"-rss_limit_mb={int(began) + MOST_MB}", f"-max_len={LONGEST}"]
        limits += [f"-artifact_prefix={findings}/", "-print_final_stats=0", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], one, custom_mutator=changed)
        atheris.Fuzz()


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_parts(surface: str, state: Path, executions: int) -> None:
    """A process after another, until so many inputs were tried."""
    while (before := Tally.of(state, surface).executions) < executions:
        argv = [sys.executable, "-m", "studies.fuzz", surface, "--state", str(state), "--part"]
        done = subprocess.run([*argv, "--executions", str(executions)], capture_output=True, check=False)
        tally = Tally.of(state, surface)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            tally.ended.append(f"{done.returncode}: {said[-600:]}")
            tally.keep(state, surface)
        print(
            f"{surface}: {tally.executions:,} tried, {tally.cpu_seconds:.0f} s, exit {done.returncode}",
            flush=True,
        )
        if done.returncode and tally.executions == before:
            return


def table(state: Path) -> str:
    """What was tried so far, in Markdown."""
    rows = [
        "| surface | executions | refused | CPU s | slowest, s | memory, MB | findings |",
        "|" + "---|" * 7,
    ]
    for file in sorted(state.glob("*.json")):
        tally, found = Tally.of(state, file.stem), sorted((state / file.stem / "findings").glob("*"))
        rows.append(
            f"| {file.stem} | {tally.executions:,} | {tally.refused:,} | {tally.cpu_seconds:.0f} | "
            f"{tally.slowest_seconds:.2f} | {tally.grown_mb:.0f} | {', '.join(one.name for one in found) or 'none'} |"
        )
    return "\n".join(rows)


def main() -> None:
    """As the text at the top says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("surfaces", nargs="*")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    if given.part:
        fuzz(given.surfaces[0], given.state, given.executions)
    for surface in given.surfaces:
        in_parts(surface, given.state, given.executions)
    print(table(given.state))


if __name__ == "__main__":
    main()
