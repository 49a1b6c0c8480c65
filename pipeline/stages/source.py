"""Stage: the network as it is given, checked against the data before any time is spent on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from jetpress.deploy.console import say
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline import tasks
from jetpress.pipeline.data.loading import Data, load
from jetpress.pipeline.network import heads, models
from jetpress.pipeline.network.models import Network, outputs_of
from jetpress.pipeline.network.reparametrized import bake
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.tasks.task import Shown
from jetpress.pipeline.training.evaluate import evaluate
from jetpress.pipeline.training.trial import judges, learns

DTYPES = {"float32", "int32", "int64", "uint8"}


def source(config: SourceConfig, draft: Path) -> Checkpoint:
    """Build the network, load its weights, try it on real samples.

    Facts: ``data`` and ``inputs``; where weights are given also ``validation``.

    Raises:
        RecipeError: network, weights, inputs and data do not fit together.
    """
    module = models.made(config.model, config.seed)
    if baked := bake(module):
        say(
            f"    computed weights are plain from here on, as channels are cut in them: {', '.join(baked[:5])}"
            + (f", ... ({len(baked)})" if len(baked) > 5 else "")
        )
    wanted = replace(config.task, kind=tasks.decided(config.task, config.data, module))
    task, data = tasks.task_of(wanted), load(config.data, config.seed, wanted)
    task.check_network(module, config.data)
    samples = data.train.batch(range(min(2, len(data.train))), None)[0]
    inputs = _inputs(config.model.inputs, data, samples)
    named = () if data.task.head else task.outputs
    model = replace(config.model, inputs=inputs, outputs=config.model.outputs or named)
    network = Network(module.eval(), model, config.data, config.seed, task=data.task)
    if classes := _classes(data) if task.class_scores else len(data.classes):
        network = heads.fit_classes(network, classes, samples, task.counted)
    new = list[heads.NewLayer]()
    if config.model.weights is not None:
        new = heads.load(network, samples, config.trains, task.counted)
    _fits(network, data)
    by = judges(network, data)
    if config.loss:
        learns(network, data)
    points = None
    if config.model.weights is not None and not new:
        points = evaluate(network, data.validation, "accuracy of the weights given")
    facts = replace(
        models.measure(network),
        data=data.facts(),
        inputs=dict(config.inputs),
        measured=by.measured,
        unit=by.unit,
        mean=by.mean,
        validation=points,
    )
    return models.save(network, draft, facts)


def _inputs(
    given: tuple[InputConfig, ...], data: Data, samples: tuple[Tensor, ...]
) -> tuple[InputConfig, ...]:
    """The inputs that the data has; those of the recipe, if it gives any, must agree but for their names."""
    found = []
    for name, tensor in zip(data.names, samples, strict=True):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise RecipeError(
                f"input {name!r} of the data is {dtype}", f"give one of {', '.join(sorted(DTYPES))}"
            )
        found.append(InputConfig(shape=tuple(tensor.shape[1:]), name=name, dtype=dtype))  # type: ignore[arg-type]
    if not given:
        return tuple(found)
    if [(i.shape, i.dtype) for i in given] != [(i.shape, i.dtype) for i in found]:
        raise RecipeError(
            f"the data has the inputs {_listed(tuple(found))}, the recipe says {_listed(given)}",
            "correct model.inputs, or leave it out: the shapes of the data are taken",
        )
    return given


def _listed(inputs: tuple[InputConfig, ...]) -> str:
    return ", ".join(f"{i.dtype} {list(i.shape)}" for i in inputs)


def _fits(network: Network, data: Data) -> None:
    """A forward pass works, is finite, and gives what the task asks for."""
    named = network.model.builder
    samples, target = data.train.batch(range(min(2, len(data.train))), None)
    try:
        with torch.no_grad():
            outputs = outputs_of(network.module(*samples))
    except RecipeError:
        raise
    except Exception as error:  # the user's network may raise anything
        raise RecipeError(
            f"{named} does not take {_listed(network.model.inputs)}: {type(error).__name__}: {error}",
            "check data.size, and that inputs come in the order of the network's forward",
        ) from error
    if not all(t.isfinite().all() for t in outputs if t.is_floating_point()):
        raise RecipeError(
            f"{named} gives NaN or Inf on the data", "check the weights, data.mean and data.std"
        )
    task = tasks.task_of(network.task)
    scored = heads.scored(network, samples, task.counted)
    size = tuple(samples[0].shape[2:])
    task.check_outputs(
        Shown(named, outputs, len(samples[0]), _classes(data), target, scored, size, network.task)
    )


def _classes(data: Data) -> int:
    """How many the data has; 0: it does not say."""
    labels = data.train.labels
    return len(data.classes) or (int(labels.max()) + 1 if labels is not None else 0)
