"""What a TensorRT builder's log tells that its user must know. Pure text in, facts out.

Both wordings of the sparsity lines are read: 8.x names the layers, 10.x counts them. They are logged once per
tactic-selection pass, and the last pass is the one that counts.
"""

import re
from typing import Dict, List, Optional, Pattern, Sequence, Set

ELIGIBLE = re.compile(
    r"\(Sparsity\) (?:Layers eligible for sparse math|Found (\d+) layer\(s\) eligible[^:]*):?(.*)"
)
CHOSEN = re.compile(
    r"\(Sparsity\) (?:TRT inference plan picked sparse implementation for layers"
    r"|Chose (\d+) layer\(s\)[^:]*):?(.*)"
)
SKIPPED = re.compile(r"skipping tactic", re.IGNORECASE)
INT64 = re.compile(r"INT64", re.IGNORECASE)
# 8.x alone has three wordings: "X is not supported on DLA, falling back to GPU", "Unsupported on DLA. Switching this
# layer's device type to GPU", "DLA supports only 8 subgraphs per DLA core. Switching to GPU for layer X".
FALLBACK = re.compile(r"falling back to GPU|GPU fallback|switching (?:.{1,200} )?to GPU\b", re.IGNORECASE)
# What is said once the engine is made, with names as `{ForeignNode[Conv_0...Relu_9]}`, a loadable of the DLA each.
ON_DLA, ON_GPU = re.compile(r"\[DlaLayer\] *(\S.*)"), re.compile(r"\[GpuLayer\] *(\S.*)")
NO_WORK = re.compile(r"^(?:SHUFFLE|REFORMAT\w*|COPY|NOOP|CONSTANT|CAST)\b", re.IGNORECASE)
SHOWN = 5  # lines quoted of each kind; the counts are complete


def of_interest(line: str) -> bool:
    """Whether a line is worth keeping though it is only informative."""
    return "(Sparsity)" in line or any(
        kind.search(line) for kind in (SKIPPED, INT64, FALLBACK, ON_DLA, ON_GPU)
    )


def read(lines: Sequence[str]) -> Dict[str, object]:
    """The findings of one build's log."""
    skipped = [line for line in lines if SKIPPED.search(line)]
    int64 = [line for line in lines if INT64.search(line)]
    fallback = [line for line in lines if FALLBACK.search(line)]
    return {
        "sparsity": _sparsity(lines),
        "skipped_tactics": len(skipped),
        "skipped_for_memory": sum("memory" in line.lower() for line in skipped),
        "int64_casts": len(int64),
        "dla_fallback": len(fallback),
        "dla_loadables": len(_layers(ON_DLA, lines)),
        "gpu_layers": len([name for name in _layers(ON_GPU, lines) if not NO_WORK.search(name)]),
        "lines": [line for kind in (skipped, int64, fallback) for line in kind[:SHOWN]],
    }


def _layers(kind: Pattern[str], lines: Sequence[str]) -> Set[str]:
    """Each once: a list that is said again is the same list."""
    return {match.group(1).strip() for match in map(kind.search, lines) if match}


def _sparsity(lines: Sequence[str]) -> Optional[Dict[str, object]]:
    """Layers eligible for, and really using, 2:4 kernels; None when TensorRT said nothing about it."""
    eligible = [match for match in map(ELIGIBLE.search, lines) if match]
    chosen = [match for match in map(CHOSEN.search, lines) if match]
    if not eligible and not chosen:
        return None
    layers: Dict[str, object] = {}
    for key, matches in (("eligible", eligible), ("chosen", chosen)):
        names = _names(matches[-1].group(2)) if matches else []
        count = matches[-1].group(1) if matches else None
        layers[key] = int(count) if count is not None else len(names)
        layers[key + "_layers"] = names
    return layers


def _names(text: str) -> List[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
