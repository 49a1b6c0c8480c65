"""A short pipeline of real stages, killed before every single change of the disk, and started again.

A program of its own: it forks, which a process that has trained already must not.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import TensorProto, helper

from jetpress.deploy.targets import find
from jetpress.pipeline.recipe.configs import BundleConfig, SourceConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.stages import bundle, fold, source, train
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel, listing
from jetpress.pipeline.store.collect import collect
from jetpress.pipeline.store.facts.onnx_file import FileEnds, OnnxModelFacts, TensorSpec
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.publish import clear, publish
from jetpress.pipeline.store.steps import Doing
from jetpress.pipeline.store.store import Store, write_atomically
from studies.kills import KILLED, child, digests, faults
from tests.pipeline import small

SETTINGS = TrainConfig(epochs=2, learning_rate=0.05, precision="float32")
PACKING = BundleConfig("short", find("nano"), BuildConfig(), BenchmarkConfig(), 0)
INPUTS = tuple(TensorSpec(name, "float32", (1, 4)) for name in ("left", "right"))


def graph(config: str, model: Checkpoint, draft: Path) -> OnnxModel:
    """Stands for the export, which takes seconds: a graph of one node."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("left", "y")]
    made = helper.make_graph([helper.make_node("Relu", ["left"], ["y"])], config, ends[:1], ends[1:])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)]), draft / "model.onnx")
    ends = FileEnds("network", "scores", ())
    return OnnxModel(draft, OnnxModelFacts(13, 8, 1, 0, 1, INPUTS, INPUTS[:1], ends))


def short(sources: Path, home: Path) -> None:
    """As :func:`jetpress.pipeline.run.run` does it, on the smallest network."""
    store, folder = Store(home / ".store"), home / "short-run"
    file = sources / "few.py"
    file.write_text(small.DATA.replace("300", "40").replace("100, 1", "10, 1").replace("80", "10"))
    data = DataConfig(
        f"{file}:sums", batch_size=20, sample_images=4, loss=f"{file}:both", metric=f"{file}:right"
    )
    config = SourceConfig(small.model(sources, "pair"), data)
    with Needs(store, folder) as needs:
        doing = Doing(store, needs)
        dense = doing.step("train", train.train, SETTINGS, doing.step("source", source.source, config))
        folded = doing.step("fold", fold.fold, None, dense)
        exported = doing.step("export", graph, "compressed", folded)
        packed = doing.step("bundle", bundle.bundle, PACKING, folded, exported, exported)
        with store.locked(folder.name, "another process writes this run's folder"):
            clear(folder)
            publish(store, packed, folder / "bundle")
            write_atomically(folder / "report.json", "{}")
        needs.finished()


def kill_everywhere(memory: Path, part: int, parts: int) -> int:
    """Kill at each ``parts``-th change of the disk from ``part`` on, and start again; how many that were.

    Raises:
        AssertionError: the run that was started again is not the one that was never killed.
    """
    sources, whole = memory / "sources", memory / "whole"
    sources.mkdir()
    short(sources, memory / "warm")  # what is computed once in a process is not computed in every child
    code, changes = child(whole, lambda: short(sources, whole))
    assert code == 0, changes[-1]
    expected = digests(Store(whole / ".store"))
    assert len(expected) == 5
    for point in range(part, len(changes), parts):
        home = memory / str(point)
        assert child(home, partial(short, sources, home), point)[0] == KILLED
        store = Store(home / ".store")
        before = digests(store)
        collect(store)  # what the killed run had noted stays
        assert digests(store) == before
        short(sources, home)
        assert faults(store) == [], changes[point]
        assert digests(store) == expected, changes[point]
        left = {path.name for path in (home / "short-run").iterdir()}
        assert left == {"bundle", "needs.json", "report.json"}
        assert verified(home / "short-run" / "bundle", store)
        shutil.rmtree(home)
    return len(changes)


def verified(copy: Path, store: Store) -> bool:
    """Whether the copy in the run's folder is the artifact, byte for byte."""
    memo = next(memo for memo in store.known().values() if memo.stage == "bundle")
    return listing(copy) == listing(store.objects / memo.digest)


if __name__ == "__main__":
    # A folder in memory where there is one: a process that dies leaves what it wrote, flushed or not.
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        print(kill_everywhere(Path(folder), *map(int, sys.argv[1:])))
