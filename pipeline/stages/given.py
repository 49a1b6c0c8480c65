"""Stage: an ONNX file as it was given: looked over before any library opens it, and with the shapes it is to take.

Nothing else of it is changed. What it becomes is held against this, and timed beside it.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.onnx_file import guard
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.exporting import LARGEST_FILE, described, opset_of
from jetpress.pipeline.graph.shapes import settle
from jetpress.pipeline.recipe.configs import GivenConfig
from jetpress.pipeline.store.artifact import OnnxModel
from jetpress.pipeline.store.facts.onnx_file import FileEnds, OnnxModelFacts, TensorSpec

FILE = "model.onnx"


def given(config: GivenConfig, draft: Path) -> OnnxModel:
    """Copy the file, with its inputs' shapes settled.

    Raises:
        TrustError: it is hostile or damaged.
        RecipeError: it has operators that are not ONNX's, or open axes that nothing is said about.
    """
    path = Path(config.path).resolve()
    guard.check_onnx(path)
    proto = onnx.load(path)
    _refuse_strangers(proto)
    specs, said = settle(proto, config.shapes)
    for line in said:
        console.say(f"    {line}")
    _write(proto, draft / FILE)
    session.load(draft / FILE, unknown=f"ONNX Runtime does not take {path.name} as it is")
    facts = OnnxModelFacts(
        opset=opset_of(proto),
        ir_version=proto.ir_version,
        nodes=len(proto.graph.node),
        bytes=sum(one.stat().st_size for one in draft.iterdir()),
        max_batch=1,
        inputs=tuple(specs),
        outputs=tuple(described(value) for value in proto.graph.output),
        ends=FileEnds("network", "scores", tuple(said)),
        headline=f"opset {opset_of(proto)}, {len(proto.graph.node)} nodes, {', '.join(map(_shown, specs))}",
    )
    return OnnxModel(draft, facts)


def _shown(one: TensorSpec) -> str:
    profile = one.profile
    sides = (profile.min, profile.opt, profile.max) if profile else (one.shape,)
    return f"{one.name} {one.dtype} {':'.join('x'.join(map(str, side)) or 'scalar' for side in sides)}"


def _refuse_strangers(proto: onnx.ModelProto) -> None:
    """Operators of another domain are some runtime's own; functions of the model's own are written out later."""
    own = {(one.domain, one.name) for one in proto.functions}
    strangers = {
        f"{node.domain}.{node.op_type}"
        for node in proto.graph.node
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in own
    }
    if strangers:
        raise RecipeError(
            f"the file has operators that are not ONNX's: {', '.join(sorted(strangers)[:5])}",
            "they belong to one runtime (a plugin of TensorRT, ONNX Runtime's own): export the network without them",
        )


def _write(proto: onnx.ModelProto, path: Path) -> None:
    if proto.ByteSize() <= LARGEST_FILE:
        path.write_bytes(proto.SerializeToString(deterministic=True))
    else:
        onnx.save(proto, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)
