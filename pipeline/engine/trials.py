"""Networks that may become the engine, built and timed on the device: what a stage measures to decide by."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx
from torch import nn

from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.events import Profile, by_model
from jetpress.deploy.errors import StageError
from jetpress.pipeline.engine import contents
from jetpress.pipeline.engine.place import opened
from jetpress.pipeline.graph import exporting
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.configs import Bench
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.store.facts.onnx_file import TensorSpec

REMEDY = "run it again; if it stays so, run `python3 runner.pyz doctor` on the device"


def to_onnx(module: nn.Module, network: Network, bench: Bench) -> onnx.ModelProto:
    """The graph of ``module``, a variant of ``network``, as the engine will get it; with Q/DQ where that has them."""
    made = exporting.to_onnx(module, network.model.inputs, network.model.outputs, bench.export)
    precision = bench.packing.build.precision
    return with_qdq(made, bench.packing.target.dialect(precision)) if precision in EIGHT_BITS else made


def with_qdq(proto: onnx.ModelProto, dialect: str) -> onnx.ModelProto:
    """``proto`` in eight bits, to be timed and nothing else: ranges are made up.

    They begin at 0, as behind a ReLU: ONNX Runtime fuses no other with it.
    """
    subject = Subject(proto, DIALECTS[dialect])
    return subject.graph(dict.fromkeys(subject.tensors(), (0.0, 1.0)))


def profiles(
    bench: Bench,
    protos: Mapping[str, onnx.ModelProto],
    samples: Callable[[Sequence[TensorSpec], Path], object],
    draft: Path,
    seconds: float | None = None,
) -> dict[str, Profile]:
    """Time the networks in one session, interleaved: what undisturbed runs take, by name.

    The runner does it (`deploy/runner/measure/profile.py`).

    Args:
        samples: writes what they are run on into a folder: an array for each input that is described.
        seconds: no round but a second one is begun after so long; None: all are.

    Raises:
        StageError: the runner does not tell of each, or not of as many rounds of one as of another.
    """
    folder = draft / "trials"
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier session
    folder.mkdir()
    for name, proto in protos.items():
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))
    typed = contents.precision_of(bench.packing, quantized=True)
    listed = {name: {"file": f"{name}.onnx", "sparse": False, **typed} for name in protos}
    first = next(iter(protos.values()))
    inputs = [exporting.input_of(value, bench.export) for value in first.graph.input]
    samples(inputs, folder / "samples")
    contents.complete(folder, bench.packing, listed, inputs)
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    with opened(bench.place, draft) as device:
        place = device.put(folder, digest)
        engines = f"{device.folder}/engines/{digest}"
        remote_runner.run_detached(device, digest[:32], place, "build", "--bundle", place, "--out", engines)
        told = ["--bundle", place, "--engines", engines]
        told += [] if seconds is None else ["--seconds", str(seconds)]
        events = remote_runner.run(device, place, "profile", *told)
    shutil.rmtree(folder)
    return side_by_side(by_model(events, Profile, needed=protos))


def side_by_side(timed: dict[str, Profile]) -> dict[str, Profile]:
    """Profiles whose rounds belong together one by one.

    Raises:
        StageError: they do not.
    """
    if len({len(profile.rounds) for profile in timed.values()}) != 1:
        counts = ", ".join(f"{name} {len(profile.rounds)}" for name, profile in timed.items())
        raise StageError(f"the networks were timed in different numbers of rounds: {counts}", REMEDY)
    return timed
