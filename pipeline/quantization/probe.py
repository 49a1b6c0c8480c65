"""How far quantized graphs of one network are from FP32, on inputs that nothing was calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx

from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.quantization import calibrate, qdq
from jetpress.pipeline.quantization.calibrate import Seen
from jetpress.pipeline.quantization.dialect import Array
from jetpress.pipeline.quantization.judge import close, cosine, error
from jetpress.pipeline.quantization.layer_loss import sensitivity
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig

Scores = Callable[[onnx.ModelProto, Sequence[Feed]], Array]
"""What counts of a graph's outputs on all feeds, ``[samples, numbers]``."""


class Probe:
    """Of one network.

    Args:
        config: which methods are tried.
        subject: the network.
        scores: what counts of its outputs.
        feeds: inputs as the graph takes them.
    """

    def __init__(
        self, config: QuantizeConfig, subject: Subject, scores: Scores, feeds: Sequence[Feed]
    ) -> None:
        self.config, self.subject, self.scores, self.feeds = config, subject, scores, feeds
        self.expected: Array = scores(subject.proto, feeds)

    def error(self, graph: onnx.ModelProto) -> float:
        """Of the scores."""
        return error(self.expected, self.scores(graph, self.feeds))

    def close(self, graph: onnx.ModelProto) -> bool:
        """Whether the file will be called the same function."""
        return close(self.expected, self.scores(graph, self.feeds))

    def cosine(self, graph: onnx.ModelProto) -> float:
        """Between the scores and those of FP32, mean over the samples."""
        return cosine(self.expected, self.scores(graph, self.feeds))

    def methods(self, seen: Mapping[str, Seen]) -> tuple[dict[str, float], dict[str, qdq.Ranges]]:
        """Error and ranges of the method asked for, or of all of them."""
        dialect = self.subject.dialect
        names = calibrate.methods(dialect) if self.config.method == "auto" else [self.config.method]
        found: dict[str, qdq.Ranges] = {
            name: calibrate.ranges(seen, name, dialect, self.config.percentile) for name in names
        }
        return {name: self.error(self.subject.graph(one)) for name, one in found.items()}, found

    def sensitivity(self, names: Sequence[str], ranges: qdq.Ranges) -> dict[str, float]:
        """Of each layer, largest first."""
        return sensitivity(
            names, lambda name: self.subject.alone(ranges, name), self.scores, self.feeds, self.expected
        )
