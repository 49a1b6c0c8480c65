"""What a graph gives, in the order of its outputs."""

from __future__ import annotations

from pathlib import Path

import onnx

from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.session import Array, Feed


def outputs(model: onnx.ModelProto | Path, feed: Feed) -> list[Array]:
    return list(session.load(model)(feed).values())
