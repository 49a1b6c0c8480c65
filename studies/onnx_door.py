"""ONNX files that somebody else made, through ``jetpress engine`` for several targets.

::

    python -m studies.onnx_door FOLDER [--targets nano,xavier,orin-nano,rtx] [--precision int8 --calibrate ...]

For every ``*.onnx`` below FOLDER and every target one line of a Markdown table: a bundle (or an engine), how far the
file is from what it became, or the refusal. A traceback is a fault of ours.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import traceback
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.errors import JetpressError
from jetpress.pipeline.recipe.onnx_run import sizing
from jetpress.pipeline.run_onnx import engine

SHAPES = {
    "320n.onnx": ["images=1x3x320x320"],
    "ch_PP-OCRv4_det_infer.onnx": ["x=1x3x320x320:1x3x640x640:1x3x960x960"],
    "ch_PP-OCRv4_rec_infer.onnx": ["x=1x3x48x160:1x3x48x320:4x3x48x640"],
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": ["x=1x3x48x192:1x3x48x192:8x3x48x192"],
    "silero_vad.onnx": ["input=1x576", "state=2x1x128"],
    "silero_vad_16k_op15.onnx": ["input=1x576"],
    "silero_vad_half.onnx": ["input=1x576"],
    "silero_vad_op18_ifless.onnx": ["input=1x576"],
}
"""Of files whose inputs are open."""


def main() -> int:
    """The table on stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--targets", default="nano,xavier,orin-nano,rtx")
    parser.add_argument("--only", default="", help="part of the file's name")
    options = parser.parse_args()
    console.speak(console.Level.QUIET)
    root = Path(os.environ.get("JETPRESS_RUNS") or tempfile.mkdtemp())
    print("| file | target | came to | as given = as it is now | s |\n|---|---|---|---|---:|")
    faults = 0
    for path in sorted(options.folder.rglob("*.onnx")):
        if options.only in path.name and path.stat().st_size > 1000 and ".store" not in path.parts:
            for target in options.targets.split(","):
                started = time.time()
                came, equal = one(path, target, root)
                faults += came.startswith("FAULT")
                print(
                    f"| {path.name} | {target} | {came} | {equal} | {time.time() - started:.0f} |", flush=True
                )
    return min(faults, 1)


def one(path: Path, target: str, root: Path) -> tuple[str, str]:
    """What a file came to, and how far it is from what it was."""
    try:
        report = engine(path, target, shapes=dict(map(sizing, SHAPES.get(path.name, []))), home=root)
    except JetpressError as error:
        return f"refused: {error.what}. {error.hint}".replace("\n", " ").replace("|", "/")[:400], ""
    except Exception:  # noqa: BLE001 - that is what is looked for
        return f"FAULT: {traceback.format_exc().splitlines()[-1][:200]}", ""
    rows = report.equivalence
    worst = min((one.cosine for one in rows if one.cosine is not None), default=1.0)
    apart = max((one.max_rel for one in rows if one.max_rel is not None), default=0.0)
    what = "engine" if report.engine_built else "bundle"
    return f"{what}, {report.target['precision']}", f"relative {apart:.1e}, cosine {worst:.6f}"


if __name__ == "__main__":
    raise SystemExit(main())
