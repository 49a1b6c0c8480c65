"""How good a graph is: points on a split as ONNX Runtime computes it, and how far its scores are from another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from jetpress.deploy.console import progress
from jetpress.pipeline.data import loading
from jetpress.pipeline.data.splits import Split
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.channelwise import Channels
from jetpress.pipeline.graph.ends import SCORES, Ends
from jetpress.pipeline.graph.session import Array, Feed, Run
from jetpress.pipeline.graph.tolerance import LIMITS, cosines
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.tasks import decoded_as, task_of
from jetpress.pipeline.tasks.metric import Result
from jetpress.pipeline.training.evaluate import metric, points_of, rebuilder, unseen


@dataclass(frozen=True)
class Judge:
    """What a graph of ``network`` is fed, and what counts in what it gives."""

    network: Network
    ends: Ends
    batch: int
    """Largest number of samples that the graph takes at once."""

    def feeds(self, proto: onnx.ModelProto, inputs: tuple[Tensor, ...]) -> Iterator[tuple[int, Feed]]:
        """The network's inputs ``[n, ...]`` as the file takes them: how many samples are real, and the arrays."""
        return session.feeds(proto, self.ends.to_file(inputs), self.batch)

    def scores(self, proto: onnx.ModelProto, feeds: Sequence[Feed]) -> Array:
        """The scores on all feeds, ``[samples, ...]``, before a softmax or argmax that the file ends with."""
        name, run = self._runner(proto)
        found = []
        for feed in feeds:
            count, array = len(next(iter(feed.values()))), np.atleast_1d(run(feed)[name])
            found.append(array if len(array) == count else array.reshape(count, -1))
        return np.concatenate(found)

    def points(self, proto: onnx.ModelProto, split: Split, what: str) -> float:
        """Points of ``split``."""
        return self.judged(proto, split, what).points

    def judged(
        self, proto: onnx.ModelProto, split: Split, what: str, see: Callable[[object], None] = unseen
    ) -> Result:
        """The figure of ``split``, what was shown in the order of its samples.

        ``see`` is given the outputs of each batch as the network returns them.
        """
        by, rebuild = metric(self.network), rebuilder(self.network)
        _, run = self._runner(proto)
        order = self._network_outputs(proto)
        seen: list[Any] = []
        with progress(what, len(split)) as line:
            for inputs, target in loading.batches(split):
                found: list[list[Array]] = []
                for count, feed in self.feeds(proto, inputs):
                    outputs = run(feed)
                    found.append([session.cut(outputs[name], count) for name in order])
                    line.step(amount=count)
                returned = rebuild([np.concatenate(column) for column in zip(*found, strict=True)])
                see(returned)
                seen += by.shown(returned, target)
        return Result(by, seen, points_of(by, seen))

    def _network_outputs(self, proto: onnx.ModelProto) -> list[str]:
        """What the network itself returns, as the graph names it: the file may end with more."""
        names = [one.name for one in proto.graph.output]
        if decoded := decoded_as(self.ends.output):
            return list(decoded.raw(self.ends.rules)) if self.ends.rules else names
        return names if self.ends.output == SCORES else [f"{names[0]}_scores", *names[1:]]

    def _runner(self, proto: onnx.ModelProto) -> tuple[str, Run]:
        """Name of the scores, and from a feed to all outputs."""
        wanted = self._network_outputs(proto)
        return wanted[task_of(self.network.task).scores(self.ends.rules)], session.load(proto, shown=wanted)


def error(expected: Array, found: Array) -> float:
    """Length of the difference over the length of what was expected, all samples together."""
    length = float(np.linalg.norm(expected.astype(np.float64)))
    apart = float(np.linalg.norm(expected.astype(np.float64) - found.astype(np.float64)))
    return apart / length if length else float(apart > 0)


def cosine(expected: Array, found: Array) -> float:
    """Between the scores ``[samples, ...]`` of each sample; the mean."""
    one, other = (array.astype(np.float64).reshape(len(array), -1) for array in (expected, found))
    return float(cosines(one, other).mean())


def close(expected: Array, found: Array) -> bool:
    """Whether :mod:`jetpress.pipeline.stages.equivalence` will call scores ``[samples, ...]`` those of FP32."""
    limits, channels = LIMITS["int8"], Channels()
    channels.add(expected, found)
    share, _ = channels.worst(limits.floor, mean=True)
    return cosine(expected, found) >= limits.cosine and share <= limits.channel


def looks_random(inputs: tuple[Tensor, ...]) -> bool:
    """Whether images are noise: in real ones a pixel resembles its neighbour."""
    images = [one.float() for one in inputs if one.ndim == 4 and one.shape[-1] > 2]
    return any(abs(_neighbours(one)) < 0.1 for one in images)


def _neighbours(images: Tensor) -> float:
    left, right = images[..., :-1].flatten(), images[..., 1:].flatten()
    together = torch.corrcoef(torch.stack([left, right]))[0, 1]
    return float(together) if together.isfinite() else 0.0
