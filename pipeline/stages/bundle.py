"""Stage: one directory that holds all a device needs, ready to copy.

::

    model.onnx  dense.onnx     the compressed network and its dense twin, measured in one session; a 2:4 network
                               is measured a third time, without sparse kernels; where nothing was compressed there
                               is no twin
    throughout.onnx            where layers stay in higher precision: the same with all of them in eight bits,
                               measured beside it
    plan.json                  what to build, how to measure it, what inputs and outputs mean
    samples/                   real inputs (``<input>.npy``) and ``labels.npy``: the engine's own accuracy; of a file
                               that was given whole inputs ``[samples, *shape]``, and no labels
    runner.pyz                 builds, infers and benchmarks; needs only the board's own Python and TensorRT
    dla.onnx dla-ranges.json   INT8 for a DLA of TensorRT up to 10.7: the graph without Q/DQ, and its ranges
    manifest.json              SHA-256 and size of every file
    README.txt                 three lines
"""

from __future__ import annotations

import shutil
from pathlib import Path

from jetpress.pipeline.engine.contents import complete, for_dla, precision_of, write_given, write_samples
from jetpress.pipeline.engine.meaning import of_file, of_network
from jetpress.pipeline.quantization import NOT_MIXED, THROUGHOUT
from jetpress.pipeline.recipe.configs import BundleConfig
from jetpress.pipeline.recipe.given import Pixels
from jetpress.pipeline.sparse.kernels import TWIN
from jetpress.pipeline.store.artifact import Bundle, Checkpoint, OnnxModel, Samples
from jetpress.pipeline.store.facts.device import BundleFacts


def bundle(
    config: BundleConfig,
    model: Checkpoint | Samples,
    compressed: OnnxModel,
    dense: OnnxModel,
    draft: Path,
) -> Bundle:
    """Put the ONNX files, the plan, samples and the runner into one directory.

    Args:
        model: the compressed network, whose test split the samples are; of a file that was given its samples.
    """
    from jetpress.pipeline.tasks import decoded_as

    sparse = {"compressed"} if isinstance(model, Checkpoint) and _eligible(model) else set()
    files, given = {"compressed": ("model.onnx", compressed)}, isinstance(model, Samples)
    if not config.alone:
        files["dense"] = ("dense.onnx", dense)
    models = {
        name: {
            "file": _copy(made, draft, name, file),
            "sparse": name in sparse,
            **precision_of(config, made.facts.quantization is not None, name == "dense" and given),
        }
        for name, (file, made) in files.items()
    }
    if sparse and config.target.sparse_tensor_cores:  # what sparse kernels are worth: the same without them
        models[TWIN] = {**models["compressed"], "sparse": False, "twin_of": "compressed"}
    if (compressed.path / THROUGHOUT).exists():
        shutil.copyfile(compressed.path / THROUGHOUT, draft / THROUGHOUT)
        models[NOT_MIXED] = {**models["compressed"], "file": THROUGHOUT, "twin_of": "compressed"}
    eight_bits = compressed.facts.quantization is not None
    models["compressed"] |= for_dla(config, eight_bits, compressed.path / "model.onnx", draft)
    facts = compressed.facts
    detection = None if decoded_as(facts.ends.output) else facts.detection  # else it is in the graph
    samples = _samples(model, compressed, draft / "samples")
    meaning = (
        of_network(model, facts)
        if isinstance(model, Checkpoint)
        else of_file(config.pixels or Pixels(), facts)
    )
    complete(draft, config, models, facts.inputs, detection, meaning)
    return Bundle(draft, BundleFacts(config.target.name, facts.opset, samples))


def _eligible(model: Checkpoint) -> int:
    return model.facts.sparsity.eligible if model.facts.sparsity else 0


def _samples(model: Checkpoint | Samples, made: OnnxModel, folder: Path) -> int:
    """Write what the engines are tried on; how many."""
    if isinstance(model, Samples):
        return write_given(model.path, made.facts.inputs, folder)
    from jetpress.pipeline.network.models import load

    return write_samples(load(model), made.facts.inputs, folder)


def _copy(made: OnnxModel, draft: Path, name: str, file: str) -> str:
    """The ONNX file; in a folder of its own where its weights lie beside it, by a name that it holds itself."""
    whole = sorted(made.path.glob("model.onnx*"))
    if len(whole) > 1:
        (draft / name).mkdir()
        file = f"{name}/model.onnx"
    for one in whole:
        shutil.copyfile(one, draft / file if one.name == "model.onnx" else draft / name / one.name)
    return file
