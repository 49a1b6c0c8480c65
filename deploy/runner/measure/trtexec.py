"""--against trtexec: the same engine with the same knobs in NVIDIA's own tool and in our loop, in turns.

trtexec 11 has other defaults than 8 to 10, so every knob is written out, in the words that its --help knows.
"""

import os
import re
import shutil
import subprocess
from statistics import median
from typing import TYPE_CHECKING, Dict, List, Optional

from ..board.identity import Board
from ..interface.settings import Input
from ..system.events import emit, tell
from ..system.failures import DeviceError, ToolMissing
from . import latencies

if TYPE_CHECKING:
    from ..interface.protocols import Session

PLACE = "usr/src/tensorrt/bin/trtexec"
TURNS = latencies.LEAST_PAIRS
LEAST_S = 1.0  # of each turn: trtexec counts in whole seconds
WARM_UP_MS = 200
PATIENCE_S = 300.0
MEDIANS = {
    "latency": "Latency",
    "enqueue": "Enqueue Time",
    "h2d": "H2D Latency",
    "compute": "GPU Compute Time",
    "d2h": "D2H Latency",
}
# knob -> (flag that switches it on, flag that switches it off); which of the two exists depends on the version
FLAGS = {
    "transfers": ("--includeDataTransfers", "--noDataTransfers"),
    "spin_wait": ("--useSpinWait", "--noSpinWait"),
    "cuda_graph": ("--useCudaGraph", "--noCudaGraph"),
}


def find(board: Board) -> str:
    """Where trtexec is."""
    path = board.path(PLACE)
    tool = path if os.access(path, os.X_OK) else shutil.which("trtexec")
    if not tool:
        raise ToolMissing(
            "there is no trtexec here", "sudo apt install libnvinfer-bin; or leave --against out"
        )
    return tool


def flags(usage: str, knobs: Dict[str, object]) -> List[str]:
    """The knobs in the words of this trtexec; `usage` is its --help."""
    words = []
    for knob, (on, off) in sorted(FLAGS.items()):
        word = on if knobs[knob] else off
        if re.search(re.escape(word) + r"\b", usage):
            words.append(word)
        elif not re.search(re.escape(off if knobs[knob] else on) + r"\b", usage):
            raise DeviceError("this trtexec has neither %s nor %s" % (on, off), "leave --against trtexec out")
    return words + ([] if knobs["overlap"] else ["--noOverlap"] * ("--noOverlap" in usage))


def parse(output: str) -> Dict[str, float]:
    """Medians in ms and the throughput, out of the performance summary of TensorRT 8.2 and newer."""
    medians = {}
    for name, title in MEDIANS.items():
        line = re.search(r"(?:^|\]) *" + title + r": .*?median\s*=?\s*([\d.]+) ms", output, re.MULTILINE)
        if line:
            medians[name] = float(line.group(1))
    rate = re.search(r"Throughput: ([\d.]+) qps", output)
    if rate:
        medians["throughput"] = float(rate.group(1))
    if not {"latency", "compute", "throughput"} <= set(medians):
        raise DeviceError(
            "trtexec's summary cannot be read: %s" % output.strip()[-300:], "leave --against trtexec out"
        )
    return medians


def run(path: str, engine: str, inputs: List[Input], words: List[str], seconds: float) -> Dict[str, float]:
    """One run of trtexec on an engine."""
    shapes = ",".join("%s:%s" % (entry.name, "x".join(map(str, entry.shape))) for entry in inputs)
    dynamic = any(entry.profile for entry in inputs)
    command = [path, "--loadEngine=" + engine] + (["--shapes=" + shapes] if dynamic else []) + words
    command += ["--warmUp=%d" % WARM_UP_MS, "--duration=%d" % max(round(seconds), 1)]
    return parse(_ask(command))


def help_of(path: str) -> str:
    """Its --help."""
    return _ask([path, "--help"])


def _ask(command: List[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DeviceError("trtexec cannot be run: %s" % error, "run it by hand: %s" % " ".join(command))
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode and "--help" not in command:
        raise DeviceError(
            "trtexec failed: %s" % output.strip()[-300:], "run it by hand: %s" % " ".join(command)
        )
    return output


def compare(
    name: str,
    session: "Session",
    engine: str,
    inputs: List[Input],
    knobs: Dict[str, object],
    seconds: float,
    dla_core: Optional[int] = None,
) -> None:
    """Ours and trtexec's medians in the order A B B A; emits the ratio ours / trtexec (1: the same)."""
    path = find(Board())
    words, each = flags(help_of(path), knobs), max(seconds / TURNS, LEAST_S)
    words += [] if dla_core is None else ["--useDLACore=%d" % dla_core]  # else the engine runs on core 0
    pairs: Dict[str, List[List[float]]] = {"latency": [], "compute": []}
    for turn in range(TURNS):
        theirs: Dict[str, float] = {}
        if turn % 2:
            theirs = run(path, engine, inputs, words, each)
        session.block(WARM_UP_MS, 1)
        ours = {kind: median(values) for kind, values in session.block(1000 * each, 10).items()}
        theirs = theirs or run(path, engine, inputs, words, each)
        for kind in pairs:
            pairs[kind].append([ours[kind], theirs[kind]])
    ratios = {
        kind: latencies.ratio([ours for ours, _ in both], [theirs for _, theirs in both])
        for kind, both in pairs.items()
    }
    shown = {kind: dict(ratio._asdict(), pairs_ms=pairs[kind]) for kind, ratio in ratios.items()}
    emit("trtexec", model=name, path=path, flags=words, latency=shown["latency"], compute=shown["compute"])
    latency, compute = ratios["latency"], ratios["compute"]
    tell(
        "%s: %.4f times trtexec's latency (95 %% %.4f to %.4f), %.4f times its compute time"
        % ((name, latency.ratio) + latency.interval + (compute.ratio,))
    )
