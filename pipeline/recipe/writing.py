"""A recipe that explains itself: what was found in the data and the network, what was chosen of it, and why."""

from __future__ import annotations

import json
from pathlib import Path

from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.amounts import Amounts
from jetpress.pipeline.recipe.goals import Goal
from jetpress.pipeline.recipe.reading import named
from jetpress.pipeline.recipe.seen import IMAGENET, DataSeen, NetworkSeen

CALLED = {"regression": "values", "keypoints": "points", "multilabel": "labels"}
"""What the network tells apart, where these are no classes."""
FITS = {
    **dict.fromkeys(("detection", "pose"), ("letterbox", "whole images, with a grey border, as YOLO has it")),
    "segmentation": ("letterbox", "whole images; the border is not judged"),
    "keypoints": ("letterbox", "whole images"),
    "regression": ("stretch", "whole images: nothing that is measured may be cropped away"),
}
"""As ``data.fit``, and why."""
AUGMENTS = {
    **dict.fromkeys(
        ("detection", "pose"), ("jitter", 'mirrored, scaled, moved, colours; "mosaic" is YOLO\'s')
    ),
    "segmentation": ("jitter", "mirrored, scaled, moved, colours; masks follow"),
    "keypoints": ("shift", 'points follow; "jitter" mirrors, too: name left and right points in the data'),
    "regression": ("none", 'a value may depend on place and colours; "shift" and "jitter" are to be had'),
}
"""As ``data.augment``, and why."""
FIGURES = {
    "detection": "points of mAP that may be lost",
    "segmentation": "points of mIoU that may be lost",
    "pose": "points of mAP by OKS that may be lost",
    "keypoints": "points of PCK@0.1 that may be lost",
    "multilabel": "points of macro F1 that may be lost",
    "regression": "mean absolute error that may be added, IN THE UNIT OF THE VALUES: CHECK IT",
}
"""The budget, where its unit is not one of the samples."""
MOST_NAMES = 8
GAP = "\t"
"""Between a setting and its reason, until all of a table are known."""
WIDE = 40
"""Characters of a setting beyond which others are not moved for it."""


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
    amounts = Amounts.of(data, network)
    parts = [
        _head(path, data, network, goal, target),
        _model(network),
        _task(data, network),
        _data(data, network, amounts, workers),
        _train(amounts, network),
        _compression(goal, amounts),
        _budget(goal, data),
    ]
    return "\n".join("\n".join(_aligned(part)) + "\n" for part in parts if part)


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
    if network.arguments:
        lines[1] = f"builder = {_toml(network.builder)}"
        inner = ", ".join(f"{name} = {_toml(value)}" for name, value in network.arguments.items())
        lines.append(_line(f"arguments = {{ {inner} }}", "as many as the data has"))
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


def _task(data: DataSeen, network: NetworkSeen) -> list[str]:
    if (data.kind == "classification" and data.root is None) or data.source == "imagefolder":
        return []
    lines = ["[task]", _line(f"kind = {_toml(data.kind)}", data.why_kind)]
    names = ", ".join(data.names[:MOST_NAMES]) + (", ..." if len(data.names) > MOST_NAMES else "")
    if names:
        lines.append(f"# {CALLED.get(data.kind, 'classes')}, as the data has them: {names}")
    if network.head is not None:
        lines.append(
            _line(f"head = {_toml(network.head)}", "by the shapes of its outputs: `jetpress docs detection`")
        )
    if network.points is not None:
        lines.append(_line(f"points = {_toml(network.points)}", "of an object, and numbers of each"))
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


def _data(data: DataSeen, network: NetworkSeen, amounts: Amounts, workers: int) -> list[str]:
    words = f"{data.classes} {CALLED.get(data.kind, 'classes')}; {data.splits}"
    lines = ["[data]", _line(f"source = {_toml(data.source)}", words)]
    if data.root is not None:
        lines.append(f"root = {_toml(data.root)}")
    if data.download:
        lines.append(_line("download = true", "torchvision fetches it there once, about 170 MB"))
    if data.side is not None:
        lines.append(_line(f"size = {_toml(network.size)}", network.why_size))
        if (fit := FITS.get(data.kind)) and data.sides:
            lines.append(_line(f"fit = {_toml(fit[0])}", fit[1]))
        if (network.mean, network.std) != IMAGENET:
            lines.append(_line(f"mean = {_toml(network.mean)}", "as the network was trained"))
            lines.append(f"std = {_toml(network.std)}")
        lines.append(_augment(data, network))
    if data.source == "masks":
        lines.append(_line("void = 255", "the value of pixels that are neither learnt nor judged"))
    if data.source == "pairs":
        lines.append(_line('metric = "psnr"', 'in dB, of values 0 to 1; of depth and other numbers "mae"'))
    if network.loss is not None:
        lines.append(_line(f"loss = {_toml(network.loss)}", "the network has none of its own"))
    steps = max(1, data.train // amounts.batch)
    lines.append(_line(f"batch_size = {amounts.batch}", f"{data.train} images: {steps} steps in a pass"))
    if data.root is not None and not data.source.startswith("cifar") and workers:
        lines.append(
            _line(f"workers = {workers}", "processes that decode images: one for each core here, at most 4")
        )
    return lines


def _augment(data: DataSeen, network: NetworkSeen) -> str:
    if data.source == "digits":
        return _line('augment = "shift"', "a mirrored digit is another sign")
    if data.kind in AUGMENTS:
        kind, why = AUGMENTS[data.kind]
        return _line(f"augment = {_toml(kind)}", why)
    if network.longest >= 96:
        return _line(
            'augment = "resized-crop"', 'ImageNet\'s; mirrors: take "shift" where left and right matter'
        )
    return _line('augment = "flip-crop"', 'CIFAR\'s; mirrors: take "shift" where left and right matter')


def _train(amounts: Amounts, network: NetworkSeen) -> list[str]:
    lines = ["[train]", _line(f"epochs = {amounts.epochs}", amounts.why_epochs)]
    if amounts.adamw:
        why = (
            "networks with LayerNorm learn badly with SGD"
            if network.layer_norm
            else "its steps fit losses of any size"
        )
        lines.append(_line('optimizer = "adamw"', why))
    lines.append(_line(f"learning_rate = {amounts.rate:g}", amounts.why_rate))
    if amounts.measured:
        lines.append(
            _line('precision = "float32"', '"auto" takes bf16 where it is faster: other weights elsewhere')
        )
    return lines


def _compression(goal: Goal, amounts: Amounts) -> list[str]:
    lines = ["[prune]"]
    if goal.key == "ratio":
        lines.append(_line("ratio = 0", "no channel goes: INT8 alone"))
    else:
        lines += [_line(f"{goal.key} = {goal.value:g}", _why_goal(goal))]
        tries = 4 if goal.value >= 0.6 or goal.timed else 3
        lines.append(_line(f"rounds = {tries}", "all of it first; less where that breaks the budget"))
    rate = "" if not amounts.given else f"learning_rate = {amounts.rate:g}"
    lines += [
        "",
        "[finetune]",
        _line(f"epochs = {amounts.finetune}", "after each round; most of the time of a run goes here"),
    ]
    if rate:
        lines.append(_line(rate, amounts.why_rate))
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
    if data.source == "pairs":
        why = "dB that may be lost"
    elif data.kind in FIGURES:
        why = f"{FIGURES[data.kind]}; the report says how finely {data.test} test images see"
    elif worth > goal.accuracy_drop:
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
