"""On how many networks does pruning work, without hints? The whole path, each network in a process of its own.

Path: prune (l2, ratio 0.5, widths a multiple of 8) > one training step > save > replay and load, equal > ONNX >
equal in ONNX Runtime (:mod:`studies.coverage_path`). A network counts when all of it holds. Sets: torchvision's
classifiers, segmenters and five detectors up to their heads, one network of each of 76 timm families, 100 more
timm networks drawn at random (seed 0; at most 60 M parameters and 288 pixels), and a user's own file.

    python -m studies.coverage run results.jsonl                       # everything; hours on two cores
    python -m studies.coverage run results.jsonl --sets timm --peer    # torch-pruning beside it
    python -m studies.coverage run results.jsonl --only resnet18 swin_t --again
    python -m studies.coverage run second.jsonl --share 2/2            # every other network, beside --share 1/2
    python -m studies.coverage table results.jsonl second.jsonl --write docs/coverage.md
    python -m studies.coverage table tasks.jsonl --tasks --write docs/coverage.md  # its second part: other tasks

Results are JSON lines: the same command again goes on where it stopped, ``--again`` runs what failed once more,
and the last record of a network counts. Every process is forked from one that has imported and warmed up all
libraries; it has one thread and 300 s of processor time, torch-pruning 60 s for the same.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import resource
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from jetpress.pipeline.graph import exporting, session
from jetpress.pipeline.network import channels
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.training.allocator import keep_memory
from studies import coverage_table as reporting
from studies.coverage_networks import RANDOM_COUNT, networks
from studies.coverage_path import Record, one

PROCESSOR_S = {"jetpress": 300, "torch-pruning": 60}
OPSETS = (18, 17, 13)


def run(
    results: Path,
    sets: Sequence[str],
    only: Sequence[str],
    tools: Sequence[str],
    opsets: Sequence[int],
    again: bool,
    without: Sequence[str] = (),
    share: tuple[int, int] = (1, 1),
) -> None:
    """Append the records that ``results`` does not hold yet; of every set only part ``share[0]`` of ``share[1]``."""
    done = reporting.records(results)
    if again:
        done = {key: record for key, record in done.items() if record["ok"] or "skipped" in record}
    warm_up()
    for family, names in networks().items():
        if sets and family not in sets:
            continue
        part, parts = share
        chosen = [name for name in names[part - 1 :: parts] if _wanted(name.partition(":")[2], only, without)]
        count = RANDOM_COUNT // parts + (part <= RANDOM_COUNT % parts)
        for reference in _few(iter(chosen), done, count) if family == "random" else chosen:
            for tool in tools:
                if (reference, tool) not in done:
                    done[reference, tool] = record = _record(reference, tool, opsets)
                    with results.open("a") as file:
                        file.write(json.dumps(record) + "\n")
                    print(json.dumps(record), flush=True)
                if "skipped" in done[reference, tool]:
                    break


def _wanted(name: str, only: Sequence[str], without: Sequence[str]) -> bool:
    return (not only or name in only) and name not in without


def _few(names: Iterator[str], done: Mapping[tuple[str, str], Record], wanted: int) -> Iterator[str]:
    """As many as are asked for, those passed over not counted."""
    count = 0
    while count < wanted and (name := next(names, None)) is not None:
        yield name
        count += "skipped" not in done[name, "jetpress"]


def _share(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text}: expected PART/PARTS, as in 1/2")
    return int(part), int(parts)


def _record(reference: str, tool: str, opsets: Sequence[int]) -> Record:
    found = in_a_process(lambda: one(reference, tool, opsets), PROCESSOR_S[tool])
    if isinstance(found, str):
        return {"network": reference, "tool": tool, "ok": False, "stage": "unknown", "error": found}
    return found


def warm_up() -> None:
    """Import and use once all that a network will need: a forked process starts where this one stands."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    warnings.simplefilter("ignore")
    with contextlib.suppress(ImportError):
        import timm  # noqa: F401
        import torch_pruning  # noqa: F401
        import torchvision  # noqa: F401
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    x = (torch.randn(2, 3, 8, 8),)
    graph = channels.analyse(module, x)
    channels.cut(module, x, graph, {graph.groups[0].name: [0]})
    proto = exporting.to_onnx(module, (InputConfig((3, 8, 8)),), (), ExportConfig(opset=13))
    gc.freeze()
    session.load(proto, threads=1)


def in_a_process(work: Callable[[], Record], seconds: int) -> Record | str:
    """What ``work`` returns from a forked process, or why it returned nothing."""
    with tempfile.TemporaryFile() as said:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                torch.set_num_threads(
                    1
                )  # renews a pool that did not survive the fork, before two threads ask
                gc.set_threshold(100_000, 50, 50)  # graphs are large and live long
                keep_memory()
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
                with os.fdopen(writing, "w") as pipe:
                    pipe.write(json.dumps(work()))
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        if text:
            record: Record = json.loads(text)
            return record
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return f"no result after {seconds} s of processor time"
        said.seek(0)
        return f"wait status {status}: {said.read(600).decode(errors='replace').strip()}"


def main() -> None:
    """``run`` or ``table``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("results", type=Path)
    running.add_argument("--sets", nargs="*", default=[])
    running.add_argument("--only", nargs="*", default=[])
    running.add_argument("--without", nargs="*", default=[], help="networks to leave out")
    running.add_argument("--share", type=_share, default=(1, 1), help="PART/PARTS of every set, as in 1/2")
    running.add_argument("--peer", action="store_true", help="torch-pruning beside it")
    running.add_argument(
        "--opsets", nargs="*", type=int, default=OPSETS, help="the first one counts; none: up to the export"
    )
    running.add_argument("--again", action="store_true", help="what failed is run once more")
    writing = commands.add_parser("table")
    writing.add_argument("results", type=Path, nargs="+")
    writing.add_argument("--write", type=Path, help="a Markdown file, instead of the screen")
    writing.add_argument("--tasks", action="store_true", help="only the file's second part: other tasks")
    given = parser.parse_args()
    if given.command == "run":
        tools = ("jetpress", "torch-pruning") if given.peer else ("jetpress",)
        chosen = (given.sets, given.only, tools, given.opsets, given.again, given.without, given.share)
        run(given.results, *chosen)
    else:
        page = given.write.read_text() if given.write and given.write.exists() else ""
        text = reporting.with_tasks(page, *given.results) if given.tasks else reporting.table(*given.results)
        given.write.write_text(text) if given.write else print(text)


if __name__ == "__main__":
    main()
