"""What an extension costs: each is written into a copy of the tree, where CONTRIBUTING.md says, and then used.

A case says which files it touches and in how many blocks of new lines; nothing else may differ from the tree.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.runs import bare
from tests.deploy.runner_bundles import bundle
from tests.extension_tree import Tree, copied


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = copied(tmp_path / "tree")
    assert made.changed() == {}
    return made


def test_a_criterion(tree: Tree) -> None:
    """One function and one line."""
    criteria = "pipeline/pruning/criteria.py"
    tree.insert(
        criteria,
        "def _summed(group: Group, parts: Iterable[Scores]) -> Scores:",
        '''def largest(group: Group, material: Material) -> Scores:
    """The largest magnitude of the filters."""
    made = {name: material.parameters[name] for name in group.producers}
    return np.maximum.reduce([np.abs(rows).max(1) for rows in _slices(group, made)])


''',
    )
    tree.insert(criteria, '    "random": Criterion(random),', '    "largest": Criterion(largest),\n')
    assert tree.changed() == {criteria: 2}
    said = tree.python(
        """
import json
from jetpress.pipeline.network import models
from jetpress.pipeline.stages.prune import prune
from jetpress.pipeline.stages.sensitivity import sensitivity
from jetpress.pipeline.stages.source import source

sets = ["prune.criterion=largest", "prune.ratio=0.5", "prune.channel_multiple=8"]
recipe = resolve(Recipe.load("recipe.toml", sets), find("host")).recipe
dense = stage(source, SourceConfig(recipe.model, recipe.data, task=recipe.task))
judged = stage(sensitivity, SensitivityConfig.of(recipe.prune), dense)
pruned = stage(prune, recipe.prune, dense, judged)
first = [next(models.load(one).module.parameters()) for one in (dense, pruned)]
print(json.dumps([sorted(weight.detach().abs().amax((1, 2, 3)).tolist()) for weight in first]))
"""
    )
    before, after = said
    assert (len(before), len(after)) == (16, 8)
    assert after == before[8:]


TX2 = {
    "files": {
        "model": "quill\0",
        "compatible": "nvidia,p3636-0001+p3509-0000\0nvidia,tegra186\0",
        "nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64\n",
        "meminfo": "MemTotal: 4051960 kB\nMemAvailable: 2900000 kB\n",
    },
    "commands": {
        "import_tensorrt": {"status": 0, "out": "version 8.2.1.8\n", "err": ""},
        "import_numpy": {"status": 0, "out": "version 1.13.3\n", "err": ""},
    },
    "python": "3.6.9", "pip_refuses": False, "machine": "aarch64", "cores": 6, "dla_compiler": False, "trtexec": "",
    "disk_free": 4 * 2**30,
}  # fmt: skip


def test_a_target(tree: Tree) -> None:
    """One record and one recorded probe."""
    targets, recorded = "deploy/targets.py", "tests/probes/survey_tx2_nx.json"
    tree.insert(
        targets,
        "TARGETS: dict[str, Target] = {target.name: target for target in _ALL}",
        '_ALL += (Module("TX2 NX", (6, 2), 4.0, precisions=("fp32", "fp16")).on(_JP4, "tx2-nx"),)\n',
    )
    tree.new(recorded, json.dumps(TX2))
    assert tree.changed() == {targets: 1, recorded: 1}
    said = tree.python(
        """
import json
from jetpress.deploy.device import probe
from jetpress.pipeline.stages.bundle import bundle
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.stages.source import source

target = find("tx2-nx")
recipe = resolve(Recipe.load("recipe.toml"), target).recipe
steps = [step.name for step in jetpress.plan(Recipe.load("recipe.toml"), "tx2-nx")]
network = stage(source, SourceConfig(recipe.model, recipe.data, task=recipe.task))
onnx_model = stage(export, recipe.export, network)
packing = BundleConfig("small", target, recipe.build, recipe.benchmark, 0)
made = stage(bundle, packing, network, onnx_model, onnx_model)
facts = probe.read("board", json.loads(Path(jetpress.__file__).parent.parent.joinpath(
    "tests", "probes", "survey_tx2_nx.json").read_text()))
probe.refuse_unless(facts, target)
print(json.dumps({
    "plan": json.loads((made.path / "plan.json").read_text()), "opset": onnx_model.facts.opset, "steps": steps,
    "fits": [one.name for one in probe.fitting(facts)],
}))
"""
    )
    assert said["fits"] == ["tx2-nx"]
    assert said["opset"] == 13
    assert "bundle" in said["steps"]
    assert (said["plan"]["backend"], said["plan"]["target"]["compute_capability"]) == ("tensorrt", [6, 2])


REFERENCE = '''"""ONNX's own reference evaluator: slow, exact, nothing but NumPy."""

import shutil
import time

from .onnxruntime import cpu_name
from ..interface.tensors import Tensor
from ..system.clock import now_ns


def open_backend(plan):
    """On the CPU of this machine."""
    return Backend()


class Backend:
    """Its engine is the file itself."""

    name, suffix, ahead = "reference", ".onnx", []
    keeps_timings = shows_progress = False

    def __init__(self):
        import onnx

        self.version = onnx.__version__
        self.device = {"name": cpu_name(), "compute_capability": None}
        self.knobs = dict.fromkeys(("transfers", "spin_wait", "cuda_graph", "overlap"), False)
        self.knobs.update(threads=1, streams=1)

    def build(self, model, settings, draft, timings):
        started = time.time()
        shutil.copyfile(model, draft)
        return {"build_seconds": time.time() - started, "flags": [], "findings": None}

    def inspect(self, engine, inputs, dla_core=None):
        return None

    def load(self, engine, inputs, dla_core=None, mapped=False):
        from onnx.reference import ReferenceEvaluator

        return Session(ReferenceEvaluator(engine), inputs)


def named(kind):
    from onnx.helper import tensor_dtype_to_np_dtype

    return tensor_dtype_to_np_dtype(kind).name


class Session:
    """Computes node by node."""

    def __init__(self, evaluator, inputs):
        self.evaluator, self.output_names = evaluator, list(evaluator.output_names)
        kinds = dict(zip(evaluator.input_names, (kind.tensor_type.elem_type for kind in evaluator.input_types)))
        self.inputs = [Tensor(one.name, tuple(one.shape), named(kinds[one.name])) for one in inputs]

    def infer(self, feeds):
        return dict(zip(self.output_names, self.evaluator.run(None, feeds)))

    def bind(self, feeds):
        self.feeds = feeds

    def block(self, milliseconds, least):
        times, end = [], now_ns() + int(milliseconds * 1e6)
        while now_ns() < end or len(times) < least:
            start = now_ns()
            self.bound = self.infer(self.feeds)
            times.append((now_ns() - start) / 1e6)
        return {"latency": times}

    def outputs(self):
        return self.bound

    def attach(self):
        pass

    detach = attach
'''


def test_a_backend(tree: Tree, tmp_path: Path) -> None:
    """One file of the runner and one record: built, inferred and measured by the runner, known to the host."""
    records, file = "deploy/backends.py", "deploy/runner/backends/reference.py"
    tree.insert(
        records,
        '    "tensorrt": Backend(',
        """    "reference": Backend(
        title="ONNX's reference",
        module="onnx",
        install="python3 -m pip install onnx",
        dialect=_of_onnxruntime,
        preflight="none",
    ),
""",
    )
    tree.new(file, REFERENCE)
    assert tree.changed() == {records: 1, file: 1}
    plan = {"backend": "reference", "needs": {"module": "onnx", "gpu": False}}
    place = bundle(
        tmp_path / "bundle",
        **plan,
        benchmark={"seconds": 0.2, "runs": 11, "warmup_ms": 1, "warmup_max_ms": 1, "max_seconds": 2},
    )
    tree.run(sys.executable, "-m", "jetpress.deploy.pack", tmp_path / "runner.pyz")

    def runner(*words: object) -> dict[str, dict[str, Any]]:
        command = (sys.executable, tmp_path / "runner.pyz", *words, "--bundle", place)
        said = tree.run(*command, codes=(0, 7))  # 7: a busy machine, and the measurement says so
        return {event["event"]: event for event in map(json.loads, said.splitlines())}

    engines = tmp_path / "engines"
    assert runner("build", "--out", engines)["built"]["stamp"]["backend"] == "reference"
    inferred = runner("infer", "--engines", engines, "--out", tmp_path / "out")["infer"]
    assert (inferred["samples"], inferred["labels"]) == (5, True)
    assert runner("bench", "--engines", engines)["ratio"]["pairs"] >= 16
    assert runner("doctor")["check"]
    said = tree.python(
        """
import json
from dataclasses import replace
from jetpress.deploy.device import probe
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.preflight.compatibility import preflight

target = replace(find("host"), name="slow", backend="reference")
facts = probe.probe(open_device(None, Path("device").resolve()))
probe.refuse_unless(facts, target)
print(json.dumps({
    "dialect": resolve(Recipe.load("recipe.toml"), target).recipe.quantize.dialect,
    "why": target.why_not_sparse, "version": facts.modules["onnx"], "ok": preflight(Path(MODEL), target).ok,
}))
""".replace("MODEL", repr(str(place / "model.onnx")))
    )
    assert said["ok"]
    assert said["version"]
    assert said["dialect"] == "onnxruntime"
    assert "ONNX's reference" in said["why"]


def test_a_package(tree: Tree, tmp_path: Path) -> None:
    """One file and one record, and the command knows it."""
    records, file = "deploy/formats/__init__.py", "deploy/formats/plain.py"
    tree.new(
        file,
        '''"""A list of labels."""

from pathlib import Path

from jetpress.deploy.formats import written
from jetpress.deploy.formats.subject import Subject

TRIED = "A test read it."


def write(subject: Subject, place: Path) -> None:
    """Labels and nothing else."""
    written.labels(place / "labels.txt", subject)
''',
    )
    tree.insert(
        records,
        '    "cpp": Format("C++", cpp.write, cpp.TRIED),',
        '    "plain": Format("plain", plain.write, plain.TRIED),\n',
    )
    tree.insert(
        records,
        "from jetpress.deploy.formats.subject import Subject",
        "from jetpress.deploy.formats import plain\n",
    )
    assert tree.changed() == {records: 2, file: 1}
    run = tmp_path / "run"
    bundle(run / "bundle")
    (run / "report.json").write_text(json.dumps(bare()))
    place = tree.run(sys.executable, "-m", "jetpress.pipeline.cli", "package", run, "--for", "plain").strip()
    assert Path(place, "labels.txt").read_text() == "a\nb\nc\nd\ne\n"


def test_a_task(tree: Tree) -> None:
    """One file and one record: several labels may be right; trained and assessed on real digits."""
    records, file = "pipeline/tasks/__init__.py", "pipeline/tasks/traits.py"
    tree.new(
        file,
        '''"""Several labels may be right for a sample, each for itself."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.tasks.metric import Metric, Setting, of_samples


def binary_cross_entropy(outputs: object, target: Tensor, smoothing: float) -> Tensor:
    """Of the first output ``[batch, labels]``; the target is 0 or 1 for each."""
    return F.binary_cross_entropy_with_logits(outputs_of(outputs)[0].float(), target)


def right_labels(setting: Setting) -> Metric:
    """Share of the labels that are right, in percent."""
    del setting
    return of_samples(
        "share of right labels",
        lambda outputs, target: 100 * ((outputs_of(outputs)[0] > 0) == (target > 0.5)).float().mean(1),
    )
''',
    )
    tree.insert(
        records,
        '    "custom": Task(',
        """    "traits": Task(
        loss=traits.binary_cross_entropy,
        loss_name="binary_cross_entropy",
        metrics={"right_labels": traits.right_labels},
    ),
""",
    )
    tree.insert(
        records,
        "from jetpress.pipeline.tasks.task import Decoded, Task, nothing_found",
        "from jetpress.pipeline.tasks import traits\n",
    )
    assert tree.changed() == {records: 2, file: 1}  # a record, and its import
    said = tree.python(
        """
import json
from dataclasses import asdict
from jetpress.pipeline.stages.assess import assess
from jetpress.pipeline.stages.finetune import finetune
from jetpress.pipeline.stages.source import source
from jetpress.pipeline.stages.train import train

sets = ["task.kind=traits", "data.source=net.py:traits", "model.arguments={outputs=3}", "train.epochs=3"]
plan = resolve(Recipe.load("recipe.toml", [*sets, "finetune.epochs=1"]), find("host"))
recipe = plan.recipe
given = stage(source, SourceConfig(recipe.model, recipe.data, task=recipe.task))
trained = stage(train, recipe.train, given)
tuned = stage(finetune, plan.finetune, trained, trained)
print(json.dumps({"measured": tuned.facts.measured, **asdict(stage(assess, None, given, tuned).facts)}))
"""
    )
    assert said["measured"] == "share of right labels"
    assert said["dense"]["test"] < 75 < said["compressed"]["test"]


def test_a_stage(tree: Tree) -> None:
    """One file, one key of a section, one step of the walk; the second time its result is found."""
    section, walk, file = (
        "pipeline/recipe/sections/export.py",
        "pipeline/run.py",
        "pipeline/stages/round_weights.py",
    )
    tree.new(
        file,
        '''"""Stage: weights of fewer digits."""

from __future__ import annotations

from pathlib import Path

import torch

from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.store.artifact import Checkpoint


def round_weights(config: ExportConfig, model: Checkpoint, draft: Path) -> Checkpoint:
    """Round every weight to ``config.weight_step``."""
    network = models.load(model)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.div_(config.weight_step).round_().mul_(config.weight_step)
    return models.save(network, draft, model.facts)
''',
    )
    tree.insert(
        section,
        "    int64_io: bool | None = None",
        '''    weight_step: float = 0.001
    """Weights are multiples of it."""
''',
    )
    tree.insert(
        walk,
        "    from jetpress.pipeline.stages.source import source",
        "    from jetpress.pipeline.stages.round_weights import round_weights\n",
    )
    tree.insert(
        walk,
        '    onnx = walk.step("export", export, recipe.export, folded)',
        '    folded = walk.step("round", round_weights, recipe.export, folded)\n',
    )
    assert tree.changed() == {file: 1, section: 1, walk: 2}  # the step and its import
    said = tree.python(
        """
import json
from jetpress.pipeline.network import models
from jetpress.pipeline.run import pipeline
from jetpress.pipeline.store.steps import Doing, Looking
from jetpress.pipeline.store.store import Store

def walked(kind, *sets):
    walk = kind(Store(Path("store")))
    outcome = pipeline(resolve(Recipe.load("recipe.toml", sets), find("nano")), None, walk)
    return outcome.networks.compressed, {step.name: step.state for step in walk.steps}

made, first = walked(Doing, "export.weight_step=0.01")
weights = [one / 0.01 for one in models.load(made).module.parameters()]
print(json.dumps({
    "off": max(float((one - one.round()).abs().max()) for one in weights),
    "first": first, "again": walked(Doing, "export.weight_step=0.01")[1], "other": walked(Looking)[1],
}))
"""
    )
    assert said["off"] < 1e-3
    assert (said["first"]["round"], said["again"]["round"]) == ("ran", "cached")
    assert set(said["again"].values()) == {"cached", "skipped"}
    assert (said["other"]["train"], said["other"]["round"]) == ("cached", "will run")
