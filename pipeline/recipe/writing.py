"""A recipe that explains itself: what was found in the data and the network, what was chosen of it, and why."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.goals import Goal
from jetpress.pipeline.recipe.reading import named

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation that ``[data]`` has by itself."""

GAP = "\t"
"""Between a setting and its reason, until all of a table are known."""
WIDE = 40
"""Characters of a setting beyond which others are not moved for it."""


@dataclass(frozen=True)
class DataSeen:
    """What was seen of a data set without reading it whole."""

    source: str
    """As ``data.source``."""
    root: str | None
    """As ``data.root``: relative to the recipe."""
    classes: int
    train: int
    """Samples that there are to learn from, before missing splits are cut off."""
    test: int
    """Samples that the result is judged on, as the recipe splits them."""
    splits: str
    """Where validation and test samples come from, in words."""
    side: int | None = None
    """Median of the images' shorter sides in pixels; None: not images."""
    download: bool = False


@dataclass(frozen=True)
class NetworkSeen:
    """What was seen of a network by building it."""

    builder: str
    size: int
    """Pixels that it will see."""
    why_size: str
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    weights: str | None = None
    """Relative to the recipe."""
    new: str = ""
    """The layers that the weights do not fit, in words."""
    layer_norm: bool = False
    """It normalises as transformers do, so it learns with AdamW."""


def commented(
    path: Path, data: DataSeen, network: NetworkSeen, goal: Goal, target: Target, workers: int
) -> str:
    """The text of a recipe.

    Args:
        path: where it will lie; its stem names the runs.
        data: what was seen of it.
        network: what was seen of it.
        goal: what is asked for.
        target: whom it is for.
        workers: processes that decode images.

    Returns:
        TOML that :meth:`jetpress.pipeline.recipe.reading.Recipe.load` takes
    """
    training = _Training.of(data, network)
    parts = [
        _head(path, data, network, goal, target),
        _model(network),
        _data(data, network, training, workers),
        _train(training, network),
        _compression(goal, training),
        _budget(goal, data),
    ]
    return "\n".join("\n".join(_aligned(part)) + "\n" for part in parts)


@dataclass(frozen=True)
class _Training:
    """Passes, rate and batch that suit the amount of data."""

    given: bool
    """The weights are the dense baseline as they are."""
    epochs: int
    finetune: int
    batch: int
    rate: float
    why_epochs: str
    why_rate: str
    measured: bool
    """The numbers are those of recipes/digits.toml, whose results are known."""

    @classmethod
    def of(cls, data: DataSeen, network: NetworkSeen) -> _Training:
        """Scratch takes about 300,000 samples, weights that know images a tenth of that; each within bounds."""
        given = network.weights is not None and not network.new
        scratch = network.weights is None
        if given:
            epochs, why = 0, "the weights given are the dense baseline"
        elif not scratch:
            epochs, why = _passes(30_000, data.train, 4, 15), "the new last layer is learnt, the rest adapts"
        elif data.source == "digits":
            epochs, why = (
                8,
                "97.8 % on the test split, measured with a ResNet-18 (studies/log/default-recipe.md)",
            )
        else:
            epochs = _passes(300_000, data.train, 10, 100)
            why = "from random weights; with trained ones (model.weights) a tenth of it would do"
        batch = min(64 if network.size < 160 else 32, 2 ** max(2, int(math.log2(max(4, data.train // 6)))))
        rate = (5e-4 if scratch else 1e-4) if network.layer_norm else (0.05 if scratch else 0.01)
        why_rate = (
            "large steps for random weights" if scratch else "small steps: the weights are good already"
        )
        tuning = 8 if data.source == "digits" else _passes(30_000, data.train, 3, 10)
        return cls(given, epochs, tuning, batch, rate, why, why_rate, data.source == "digits")


def _passes(samples: int, train: int, least: int, most: int) -> int:
    return min(most, max(least, math.ceil(samples / max(1, train))))


def _head(path: Path, data: DataSeen, network: NetworkSeen, goal: Goal, target: Target) -> list[str]:
    where = f" in {data.root}" if data.root else ""
    name = named(path)
    device = " --device USER@HOST" if goal.timed and target.is_board else ""
    return [
        f"# {network.builder} on {data.source}{where}",
        f"# for {target.title}: {goal.words}.",
        "# Written by `jetpress init`: what it found and chose stands beside each key. Change what you like;",
        "# `jetpress docs recipe` has all keys. Paths are relative to this file.",
        "#",
        f"#   jetpress plan {path} --target {target.name}{device}    # what would run",
        f"#   jetpress run {path} --target {target.name}{device}     # engine and report, in runs/{name}-...",
        f"name = {_toml(name)}",
        "seed = 0",
    ]


def _model(network: NetworkSeen) -> list[str]:
    lines = ["[model]", _line(f"builder = {_toml(network.builder)}", "num_classes is taken from the data")]
    if network.weights is None:
        lines.append(
            "# Trained weights make a better network in a tenth of the time, also those of other classes:"
        )
        lines += ['# weights = "trained.pth"', *(f"# {one}" for one in _fetched(network.builder))]
    elif network.new:
        lines.append(_line(f"weights = {_toml(network.weights)}", "all of it but:"))
        lines.append(f"# {network.new}: new, learnt from the data (model.head)")
    else:
        lines.append(_line(f"weights = {_toml(network.weights)}", "they fit as they are"))
    return lines


def _fetched(builder: str) -> list[str]:
    """How the library's own weights become a file; they are nothing that jetpress downloads."""
    library, _, name = builder.partition(":")
    made = {
        "torchvision": f"torchvision.models.get_model('{name}', weights='DEFAULT')",
        "timm": f"timm.create_model('{name}', pretrained=True)",
    }.get(library)
    if made is None:
        return []
    return [f"  python -c \"import torch, {library}; torch.save({made}.state_dict(), 'trained.pth')\""]


def _data(data: DataSeen, network: NetworkSeen, training: _Training, workers: int) -> list[str]:
    lines = ["[data]", _line(f"source = {_toml(data.source)}", f"{data.classes} classes; {data.splits}")]
    if data.root is not None:
        lines.append(f"root = {_toml(data.root)}")
    if data.download:
        lines.append(_line("download = true", "torchvision fetches it there once, about 170 MB"))
    if data.side is not None:
        lines.append(_line(f"size = {network.size}", network.why_size))
        if (network.mean, network.std) != IMAGENET:
            lines.append(_line(f"mean = {_toml(network.mean)}", "as the network was trained"))
            lines.append(f"std = {_toml(network.std)}")
        lines.append(_augment(data, network))
    lines.append(
        _line(
            f"batch_size = {training.batch}", f"{data.train} images: {_steps(data, training)} steps in a pass"
        )
    )
    if data.source == "imagefolder" and workers:
        lines.append(
            _line(f"workers = {workers}", "processes that decode images: one for each core here, at most 4")
        )
    return lines


def _augment(data: DataSeen, network: NetworkSeen) -> str:
    if data.source == "digits":
        return _line('augment = "shift"', "a mirrored digit is another sign")
    if network.size >= 96:
        return _line(
            'augment = "resized-crop"', 'ImageNet\'s; mirrors: take "shift" where left and right matter'
        )
    return _line('augment = "flip-crop"', 'CIFAR\'s; mirrors: take "shift" where left and right matter')


def _steps(data: DataSeen, training: _Training) -> int:
    return max(1, data.train // training.batch)


def _train(training: _Training, network: NetworkSeen) -> list[str]:
    lines = ["[train]", _line(f"epochs = {training.epochs}", training.why_epochs)]
    if network.layer_norm:
        lines.append(_line('optimizer = "adamw"', "networks with LayerNorm learn badly with SGD"))
    lines.append(_line(f"learning_rate = {training.rate:g}", training.why_rate))
    if training.measured:
        lines.append(
            _line('precision = "float32"', '"auto" takes bf16 where it is faster: other weights elsewhere')
        )
    return lines


def _compression(goal: Goal, training: _Training) -> list[str]:
    lines = ["[prune]"]
    if goal.key == "ratio":
        lines.append(_line("ratio = 0", "no channel goes: INT8 alone"))
    else:
        lines += [_line(f"{goal.key} = {goal.value:g}", _why_goal(goal))]
        if goal.value >= 0.6 or goal.timed:
            lines.append(
                _line("rounds = 4", "small steps lose less; one that breaks the budget is tried smaller")
            )
        else:
            lines.append(
                _line("rounds = 3", "small steps lose less; one that breaks the budget is tried smaller")
            )
    rate = "" if not training.given else f"learning_rate = {training.rate:g}"
    lines += [
        "",
        "[finetune]",
        _line(f"epochs = {training.finetune}", "after each round; most of the time of a run goes here"),
    ]
    if rate:
        lines.append(_line(rate, training.why_rate))
    if goal.int8:
        lines += [
            "",
            "[build]",
            _line('precision = "int8"', "calibrated on the training images, dense stays as it is"),
        ]
    return lines


def _why_goal(goal: Goal) -> str:
    reasons = {
        "macs": "share of the multiply-adds that is to go",
        "params": "share of the parameters that is to go",
        "latency": "share of the dense engine's time that is to go, measured on the device",
        "latency_ms": "the engine's median time, measured on the device, after the last round",
        "fps": "samples per second, measured on the device, after the last round",
    }
    reason = reasons[goal.key]
    if goal.value >= 0.75 and goal.key in ("macs", "params"):
        reason += ", if the budget lasts: the furthest round within it is kept"
    return reason


def _budget(goal: Goal, data: DataSeen) -> list[str]:
    worth = 100 / max(1, data.test)
    why = f"points that may be lost; of {data.test} test samples one is worth {worth:.2g}"
    if worth > goal.accuracy_drop:
        why += ": ONE DECIDES, add test images or raise it"
    lines = ["[budget]", _line(f"accuracy_drop = {goal.accuracy_drop:g}", why)]
    if goal.key in ("latency_ms", "fps"):
        lines.append(
            _line(f"{goal.key} = {goal.value:g}", "the run ends with exit code 8 where this is missed")
        )
    return lines


def _line(setting: str, why: str) -> str:
    return f"{setting}{GAP}{why}"


def _aligned(lines: list[str]) -> list[str]:
    """Reasons below each other, but for those of settings that are long."""
    lengths = [len(line.partition(GAP)[0]) for line in lines if GAP in line]
    column = max((length for length in lengths if length < WIDE), default=0)
    return [
        f"{setting:<{column}}  # {why}" if gap else setting
        for setting, gap, why in (line.partition(GAP) for line in lines)
    ]


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
