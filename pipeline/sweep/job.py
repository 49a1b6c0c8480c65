"""The process of one job of a batch: ``python -m jetpress.pipeline.sweep.job FOLDER SOCKET``.

It leaves ``ended.json`` in its folder, whole, as its last act: whoever finds it need not ask how the process ended.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from jetpress.pipeline.store.artifact import canonical
from jetpress.pipeline.store.measuring import asking
from jetpress.pipeline.store.store import write_atomically
from jetpress.pipeline.sweep.batch import read_job
from jetpress.pipeline.sweep.cell import Line, lived


def run(folder: Path, line: Line) -> Mapping[str, JsonValue]:
    """Do the job, and say how it ended in plain values."""
    from jetpress.benchmarks.report.headline import shown
    from jetpress.pipeline.recipe.reading import Recipe
    from jetpress.pipeline.run import run as run_recipe
    from jetpress.pipeline.run_onnx import engine

    config = read_job(folder)
    with asking(line.alone):
        if config.recipe is not None:
            path = str(folder / config.recipe) if config.recipe.endswith(".toml") else config.recipe
            report = run_recipe(Recipe.load(path, config.set), config.target, config.device)
        else:
            report = engine(
                folder / str(config.onnx),
                config.target,
                config.device,
                precision=config.precision,
                calibration=None if config.data is None else str(folder / config.data),
                settings=config.set,
            )
    return {"exit_code": shown(report).exit_code, "folder": str((report.folder or Path()).absolute())}


def main() -> int:
    """Do the job that the arguments name."""
    folder, number = Path(sys.argv[1]), int(sys.argv[2])

    def leave(told: Mapping[str, JsonValue]) -> None:
        write_atomically(folder / "ended.json", canonical(told))

    return lived(number, lambda line: run(folder, line), leave)


if __name__ == "__main__":
    sys.exit(main())
