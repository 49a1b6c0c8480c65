"""How often ``jetpress engine --prune`` can cut a file that somebody else made.

::

    python -m studies.onnx_door_prune FOLDER [--only NAME]

For every ``*.onnx`` below FOLDER one line of a Markdown table: whether onnx2torch gives back an equal network after
our passes, what goes where 30 % of the multiply-adds are asked for, and how near the outputs stay. Channels are chosen
by their weights alone and nothing is fitted: it is about whether, not how well. Inputs are noise, but of magika, whose
variances cancel in FP32 on bytes of 0 and 1 alone: it is shown files of this repository.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import traceback
from pathlib import Path

import numpy as np
import onnx

from jetpress.deploy import console
from jetpress.deploy.errors import JetpressError
from jetpress.pipeline.data.feeds import Feed, noise
from jetpress.pipeline.graph.shapes import settle
from jetpress.pipeline.recipe.given import Sizing
from jetpress.pipeline.recipe.onnx_run import sizing
from jetpress.pipeline.run_onnx import engine
from studies.onnx_door import SHAPES

SHARE, SAMPLES = 0.3, 4
PLAIN = ("prune.scope=uniform", "prune.criterion=l2", "prune.reconstruct=false")


def main() -> None:
    """The table on stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="part of the file's name")
    options = parser.parse_args()
    console.speak(console.Level.QUIET)
    print("| file | came to | multiply-adds | cosine of the outputs, least |\n|---|---|---|---:|", flush=True)
    for path in sorted(options.folder.rglob("*.onnx")):
        if options.only in path.name and path.stat().st_size > 1000 and ".store" not in path.parts:
            print(f"| {path.name} | {' | '.join(one(path))} |", flush=True)


def files() -> list[Feed]:
    """The first and the last KiB of files, as magika takes them (``config.min.json`` beside it)."""
    found = [one for one in sorted(Path(__file__).parent.glob("*.py")) if one.stat().st_size > 4096]
    read = [np.frombuffer(one.read_bytes().strip(), np.uint8) for one in found[:SAMPLES]]
    return [{"bytes": np.concatenate([one[:1024], one[-1024:]])[None].astype(np.int32)} for one in read]


def one(path: Path) -> tuple[str, str, str]:
    """What a file came to, the multiply-adds before and after, and how near the outputs are."""
    shapes = {
        name: Sizing(each.opt, each.opt, each.opt) for name, each in map(sizing, SHAPES.get(path.name, []))
    }
    root = Path(os.environ.get("JETPRESS_RUNS") or tempfile.mkdtemp())
    try:
        inputs, _ = settle(onnx.load(path), shapes)
        read = [one.name for one in inputs] == ["bytes"]
        samples = files() if read else [noise(seed, inputs) for seed in range(SAMPLES)]
        report = engine(
            path, "xavier", calibration=samples, shapes=shapes, prune=SHARE, settings=PLAIN, home=root
        )
    except JetpressError as error:
        return f"refused: {error.what}".replace("\n", " ").replace("|", "/")[:300], "", ""
    except Exception:  # noqa: BLE001 - that is what is looked for
        return f"FAULT: {traceback.format_exc().splitlines()[-1][:200]}", "", ""
    rows = [row for row in report.equivalence if row.met is None]
    before, after = report.dense.macs or 0, report.compressed.macs or 0
    least = min(row.cosine for row in rows if row.cosine is not None)
    return "equal, and pruned", f"{before / 1e6:.4g} M > {after / 1e6:.4g} M", f"{least:.3f}"


if __name__ == "__main__":
    main()
