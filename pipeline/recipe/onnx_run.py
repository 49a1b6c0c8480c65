"""What ``jetpress engine`` is told: an ONNX file in hand, and no recipe. Imports no torch.

The knobs of the stages are a recipe's own tables (:data:`TABLES`), with the same names and the same defaults; what a
recipe says of the network and its data is the file here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.configs import OnnxRun
from jetpress.pipeline.recipe.given import COLOURS, FITS, LIGHT, TABLES, Pixels, Sizing
from jetpress.pipeline.recipe.reading import Recipe, named, overridden
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS, PruneConfig

UNTRAINED = {"scope": "measured", "criterion": "obs", "rounds": 1, "sensitivity_images": 16}
"""How channels are chosen where nothing is trained afterwards."""
LABELLED = ("taylor", "fisher")
SAMPLES = 192
"""A few are kept back to judge what became of the answers; the channels that stay are fitted to the others."""
AUTO, MOST = "auto", 0.5
"""The largest cut that keeps enough answers, and the most that is tried."""


def planned(
    told: OnnxRun,
    target: Target,
    precision: str | None,
    settings: Sequence[str],
    tables: Mapping[str, Mapping[str, str]],
    prune: float | Literal["auto"] | None = None,
) -> Plan:
    """What a target makes of it: every value decided.

    Args:
        told: the file.
        precision: ``fp32``, ``fp16``, ``int8``, ``fp8``; None: what the target has by default.
        settings: ``table.key=value``, as of ``jetpress run --set``, of :data:`TABLES`.
        tables: what is said of the tables ``export`` and ``task``.
        prune: share of the multiply-adds that goes; ``auto``: as many as the answers allow; None: none.

    Raises:
        RecipeError: the target has no such precision; an unknown key; eight bits, and nothing to calibrate on.
    """
    table: dict[str, object] = {
        "name": named(Path(told.given.path)),
        "prune": {"ratio": 0.0} if prune is None else {**UNTRAINED, "macs": MOST if prune == AUTO else prune},
        "finetune": {"epochs": 0},
        "sparsify": {"mode": "off"},
        "quantize": {"qat": "off"},
        "build": {} if precision is None else {"precision": precision},
        **{name: dict(keys) for name, keys in tables.items()},
    }
    counting = TABLES if prune is None else (*TABLES, "prune")
    for setting in settings:
        if setting.partition(".")[0] not in counting:
            known = ", ".join(counting)
            raise RecipeError(f"--set {setting}: there is no recipe here", f"tables that count: {known}")
        overridden(table, setting)
    plan = resolve(Recipe.parse(table), target)
    if plan.recipe.export.dynamic_batch or plan.recipe.export.batch != 1:
        raise RecipeError("export.batch is of a network", "give the file's shapes: --shape INPUT=MIN:OPT:MAX")
    if prune is not None:
        told = replace(_pruned(told, plan.recipe.prune), searches=prune == AUTO)
    quantizes = plan.recipe.build.precision in EIGHT_BITS
    if quantizes and not told.calibration.source:
        raise RecipeError(
            f"--precision {plan.recipe.build.precision} needs real inputs: ranges found on noise are wrong",
            "--calibrate FOLDER (of images), FILE.npz (arrays by the names of inputs) or FILE.py:FUNCTION; "
            "some 100 samples are enough",
        )
    if quantizes:
        quantize = plan.recipe.quantize
        count = max(told.calibration.count, quantize.images + quantize.sensitivity_images)
        wanted = replace(told.calibration, count=count)
        told = replace(told, calibration=wanted)
    return replace(plan, file=told)


def _pruned(told: OnnxRun, config: PruneConfig) -> OnnxRun:
    """With as many samples as pruning looks at.

    Raises:
        RecipeError: what is asked for needs labels, training or a device, or there are no samples.
    """
    if any((config.latency, config.latency_ms, config.fps)):
        raise RecipeError(
            "--prune: a time is reached in rounds with training between them, and a file has none",
            "--prune SHARE (of the multiply-adds), or --set prune.params=SHARE",
        )
    if config.regularize_epochs:
        raise RecipeError(
            "prune.regularize_epochs: a file is not trained, before it is pruned or after", "leave it out"
        )
    if config.criterion in LABELLED:
        raise RecipeError(
            f"prune.criterion = {config.criterion!r} looks at the gradients of a loss, and there are no labels",
            'leave it out: "obs" asks what the channels that stay can take over',
        )
    if not told.calibration.source:
        raise RecipeError(
            "--prune needs real inputs: what a channel is worth shows on them, and the others are fitted to them",
            "--calibrate FOLDER (of images), FILE.npz (arrays by the names of inputs) or FILE.py:FUNCTION; "
            "some 100 samples are enough",
        )
    calibration = replace(told.calibration, count=max(told.calibration.count, SAMPLES))
    return replace(told, prunes=True, calibration=calibration)


Shape = Sequence[int] | Sequence[Sequence[int]] | Sizing
SHAPE = re.compile(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*|scalar")


def sizing(text: str) -> tuple[str, Sizing]:
    """``input=1x3x640x640`` or ``input=MIN:OPT:MAX``, each such a shape.

    Raises:
        RecipeError: it is none; the least is larger than the largest.
    """
    name, equals, rest = text.rpartition("=")
    parts = rest.split(":")
    if not equals or not name or len(parts) not in (1, 3) or not all(map(SHAPE.fullmatch, parts)):
        raise RecipeError(
            f"--shape {text[:100]}",
            "for example input=1x3x640x640, or input=1x3x320x320:1x3x640x640:1x3x1280x1280",
        )
    shapes = [() if one == "scalar" else tuple(map(int, one.split("x"))) for one in parts]
    low, usual, high = shapes if len(shapes) == 3 else shapes * 3
    if not len(low) == len(usual) == len(high):
        raise RecipeError(
            f"--shape {text[:100]}: the three have different ranks", "MIN:OPT:MAX, axis by axis"
        )
    if any(not a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
        raise RecipeError(f"--shape {text[:100]}: MIN <= OPT <= MAX does not hold", "in every axis")
    return name, Sizing(low, usual, high)


def sizings(texts: Sequence[str]) -> dict[str, Sizing]:
    """Of every ``--shape``.

    Raises:
        RecipeError: as of :func:`sizing`, or an input is said twice.
    """
    found = dict(map(sizing, texts))
    if len(found) < len(texts):
        raise RecipeError("--shape names an input twice", "MIN:OPT:MAX is one --shape")
    return found


def pixels(
    mean: str = "0", std: str = "1", scale: float = LIGHT, colour: str = "rgb", fit: str = "stretch"
) -> Pixels:
    """Of what the command line says.

    Raises:
        RecipeError: these are no numbers, or none for each channel.
    """
    rows = {"--mean": mean, "--std": std}
    values: dict[str, tuple[float, ...]] = {}
    for name, row in rows.items():
        try:
            values[name] = tuple(float(one) for one in row.split(","))
        except ValueError:
            raise RecipeError(
                f"{name} {row[:60]}", "one number, or one for each channel: 0.485,0.456,0.406"
            ) from None
        if len(values[name]) not in (1, 3) or not all(abs(one) < 1e6 for one in values[name]):
            raise RecipeError(f"{name} {row[:60]}", "one number, or one for each channel: 0.485,0.456,0.406")
    if min(values["--std"]) <= 0 or scale <= 0:
        raise RecipeError("--std and --scale are divided by", "give numbers above 0")
    if colour not in COLOURS or fit not in FITS:
        raise RecipeError(f"{colour}, {fit}", f"colours: {', '.join(COLOURS)}; fits: {', '.join(FITS)}")
    return Pixels(values["--mean"], values["--std"], scale, colour, fit)


def as_sizing(name: str, shape: Shape) -> Sizing:
    """A shape, or three, as Python has them.

    Raises:
        RecipeError: they are none.
    """
    if isinstance(shape, Sizing):
        return shape
    three = list(shape) if shape and not isinstance(shape[0], int) else [shape] * 3
    text = ":".join("x".join(map(str, one)) or "scalar" for one in three if isinstance(one, Sequence))
    return sizing(f"{name}={text}")[1]


def reproduce(
    model: str | Path,
    target: str,
    precision: str | None,
    calibration: object,
    shapes: Mapping[str, Sizing],
    pixels: Pixels,
    input: str,  # noqa: A002 - as the recipe calls it
    output: str,
    head: str | None,
    settings: Sequence[str],
    prune: float | Literal["auto"] | None = None,
) -> str:
    """The command that does the same."""
    words = ["jetpress", "engine", str(model), "--target", target]
    words += ["--precision", precision] if precision else []
    if calibration is not None:
        words += ["--calibrate", str(calibration) if isinstance(calibration, str | Path) else "SAMPLES"]
    for name, one in shapes.items():
        sides = (one.opt,) if one.min == one.max else (one.min, one.opt, one.max)
        words += ["--shape", f"{name}={':'.join('x'.join(map(str, side)) or 'scalar' for side in sides)}"]
    usual = Pixels()
    told = {
        "--mean": (",".join(f"{one:g}" for one in pixels.mean), pixels.mean == usual.mean),
        "--std": (",".join(f"{one:g}" for one in pixels.std), pixels.std == usual.std),
        "--scale": (f"{pixels.scale:g}", pixels.scale == usual.scale),
        "--colour": (pixels.colour, pixels.colour == usual.colour),
        "--fit": (pixels.fit, pixels.fit == usual.fit),
        "--input": (input, input == "network"),
        "--output": (output, output == "scores"),
        "--head": (str(head), head is None),
        "--prune": (f"{prune:g}" if isinstance(prune, float | int) else str(prune), prune is None),
    }
    words += [word for name, (value, plain) in told.items() if not plain for word in (name, value)]
    return shlex.join([*words, *(word for setting in settings for word in ("--set", setting))])
