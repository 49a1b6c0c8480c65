"""--against trtexec: the same engine with the same knobs in NVIDIA's own tool and in our loop, in turns.

trtexec 11 has other defaults than 8 to 10, so every knob is written out, in the words that its --help knows.
"""

import os
import re
import shutil
import subprocess
from statistics import median
from typing import Any, Dict, List

from . import latencies
from .events import emit, tell
from .failures import DeviceError, ToolMissing
from .identity import Board

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
    found = path if os.access(path, os.X_OK) else shutil.which("trtexec")
    if not found:
        raise ToolMissing(
            "there is no trtexec here", "sudo apt install libnvinfer-bin; or leave --against out"
        )
    return found


def flags(said: str, knobs: Dict[str, Any]) -> List[str]:
    """The knobs in the words of this trtexec; `said` is its --help."""
    words = []
    for knob, (on, off) in sorted(FLAGS.items()):
        word = on if knobs[knob] else off
        if re.search(re.escape(word) + r"\b", said):
            words.append(word)
        elif not re.search(re.escape(off if knobs[knob] else on) + r"\b", said):
            raise DeviceError("this trtexec has neither %s nor %s" % (on, off), "leave --against trtexec out")
    return words + ([] if knobs["overlap"] else ["--noOverlap"] * ("--noOverlap" in said))


def parse(said: str) -> Dict[str, float]:
    """Medians in ms and the throughput, out of the performance summary of TensorRT 8.2 and newer."""
    found = {}
    for name, title in MEDIANS.items():
        line = re.search(r"(?:^|\]) *" + title + r": .*?median\s*=?\s*([\d.]+) ms", said, re.MULTILINE)
        if line:
            found[name] = float(line.group(1))
    rate = re.search(r"Throughput: ([\d.]+) qps", said)
    if rate:
        found["throughput"] = float(rate.group(1))
    if not {"latency", "compute", "throughput"} <= set(found):
        raise DeviceError(
            "trtexec's summary cannot be read: %s" % said.strip()[-300:], "leave --against trtexec out"
        )
    return found


def run(
    path: str, engine: str, inputs: List[Dict[str, Any]], words: List[str], seconds: float
) -> Dict[str, float]:
    """One run of trtexec on an engine."""
    shapes = ",".join("%s:%s" % (entry["name"], "x".join(map(str, entry["shape"]))) for entry in inputs)
    dynamic = any(entry.get("profile") for entry in inputs)
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
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode and "--help" not in command:
        raise DeviceError(
            "trtexec failed: %s" % said.strip()[-300:], "run it by hand: %s" % " ".join(command)
        )
    return said


def compare(
    name: str, session: Any, engine: str, inputs: List[Dict[str, Any]], knobs: Dict[str, Any], seconds: float
) -> Dict[str, Any]:
    """Ours and trtexec's medians in the order A B B A; emits the ratio ours / trtexec (1: the same)."""
    path = find(Board())
    words, each = flags(help_of(path), knobs), max(seconds / TURNS, LEAST_S)
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
    found: Dict[str, Any] = {
        kind: dict(latencies.ratio([one for one, _ in both], [other for _, other in both]), pairs_ms=both)
        for kind, both in pairs.items()
    }
    said = emit("trtexec", model=name, path=path, flags=words, **found)
    low, high = found["latency"]["interval"]
    tell(
        "%s: %.4f times trtexec's latency (95 %% %.4f to %.4f), %.4f times its compute time"
        % (name, found["latency"]["ratio"], low, high, found["compute"]["ratio"])
    )
    return said
