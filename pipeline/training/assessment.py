"""Points of a network on the validation and the test split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from jetpress.deploy.device import returned
from jetpress.deploy.device.events import Infer
from jetpress.pipeline.data.loading import Data, load, samples
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.store.artifact import Assessment, Checkpoint
from jetpress.pipeline.store.facts.network import AssessmentFacts, Change, PartPoints, Points
from jetpress.pipeline.tasks import decoded_by
from jetpress.pipeline.tasks.metric import Result
from jetpress.pipeline.training import shown
from jetpress.pipeline.training.evaluate import by_the_task, guessing, judged, metric, points_of, rebuilder
from jetpress.pipeline.training.predictions import Named, keep


class Look:
    """Keeps of the outputs on the test split what the report shows; for ``see`` of ``judged``."""

    def __init__(self, network: Network, data: Data) -> None:
        self.named, self.kept = Named(data), shown.Kept(network, data)

    def __call__(self, outputs: object) -> None:
        """The outputs of one batch."""
        self.named(outputs)
        self.kept(outputs)


@dataclass(frozen=True)
class Scored:
    """What a network came to on the two splits."""

    validation: Result
    test: Result
    look: Look
    """At the outputs on the test split."""

    @property
    def points(self) -> Points:
        """Of each split."""
        return Points(self.validation.points, self.test.points)


def opened(made: Checkpoint) -> tuple[Network, Data]:
    """A checkpoint's network, and its data."""
    network = models.load(made)
    return network, load(network.data, network.seed, network.task)


def scored(network: Network, data: Data, name: str) -> Scored:
    """On both splits; ``name`` stands in the progress line."""
    look = Look(network, data)
    validation = judged(network, data.validation, f"{name}, validation")
    return Scored(validation, judged(network, data.test, f"{name}, test", look), look)


def written(network: Network, dense: Scored, compressed: Scored, data: Data, draft: Path) -> Assessment:
    """As facts and as ``accuracy.json``, with the number of images of each split; beside it the predictions."""
    gained = dense.test.change(compressed.test)
    value = compressed.test.points - dense.test.points
    facts = AssessmentFacts(
        dense.points,
        compressed.points,
        len(data.validation),
        len(data.test),
        Change(gained.value, gained.low, gained.high) if gained else Change(value, None, None),
        guessing(network, data.test),
        dense.test.metric.mean,
        PartPoints(dict(dense.test.parts), dict(compressed.test.parts)),
    )
    (draft / "accuracy.json").write_text(json.dumps(asdict(facts), indent=1))
    classes = dense.look.named.classes, compressed.look.named.classes
    if classes[0] is not None and classes[1] is not None:
        keep(data.test, classes[0], classes[1], draft)
    kept = dense.look.kept, compressed.look.kept
    shown.keep(network, data, *kept, shown.gains(dense.test, compressed.test, kept[0].found), draft)
    return Assessment(draft, facts)


def of_engines(model: Checkpoint, folder: Path, tried: Mapping[str, Infer]) -> dict[str, float | None]:
    """Points of each engine on the bundle's samples, of the outputs that the runner wrote into ``folder``.

    None where the file ends with something else than the metric takes.
    """
    network, data = opened(model)
    _, target = samples(data, network.data.sample_images)
    by, names = metric(network), network.model.outputs
    found = dict[str, float | None]()
    for name, event in tried.items():
        arrays = returned.outputs(folder, event)
        whole = decoded_by(list(arrays)) is None and tuple(arrays) == (tuple(names) or tuple(arrays))
        if not whole and not by_the_task(network):
            found[name] = None
            continue
        given = rebuilder(network)([*arrays.values()])
        outputs = given if whole else {key: torch.from_numpy(array) for key, array in arrays.items()}
        found[name] = points_of(by, by.shown(outputs, target))
    return found
