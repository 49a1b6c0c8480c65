"""A run's facts as one typed record: ``report.json``, the page and what ``jetpress.run`` returns are all this.

What is not known is None. In the JSON every key is there, with ``null`` for what is not known, but keys whose field has
a default: they are left out while they have it.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

from pydantic import JsonValue, TypeAdapter, ValidationError

from jetpress.benchmarks.report.record.changes import (
    Curve,
    Histogram,
    Layer,
    Round,
    RoundTimes,
    SparsityReport,
    Unpruned,
)
from jetpress.benchmarks.report.record.engines import BuilderLog, EquivalenceRow, QuantizationReport
from jetpress.benchmarks.report.record.layers import LayerReport
from jetpress.benchmarks.report.record.networks import Benchmark, NetworkReport, PartReport, Ratios, Verdict
from jetpress.benchmarks.report.record.predictions import Predictions, SamplePictures
from jetpress.deploy.errors import RecipeError

FORMAT: Final = 1
AGAIN = "run it again: only the report is made anew"
Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The computer that ran the pipeline."""

    cpu: str | None
    cores: int | None
    gpu: str | None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of what was done."""

    name: str
    state: str
    """``ran``, ``cached`` or ``skipped``."""
    seconds: float | None
    """How long it took when it ran."""
    digest: str | None
    """SHA-256 of what it made."""
    why: str
    """Why it was skipped."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The verdict in two words and in a few sentences."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Everything about a finished run."""

    format: Literal[1]
    name: str
    """Of the recipe."""
    jetpress: str
    """Version."""
    target: Mapping[str, JsonValue]
    """The target's record, and the precision and opset decided."""
    verdict: Verdict
    engine_built: bool
    next: str | None
    """What is left to do by hand."""
    dense: NetworkReport
    compressed: NetworkReport
    ratios: Ratios
    benchmark: Benchmark | None
    """None: nothing was measured."""
    layers: tuple[Layer, ...]
    """Those that lost channels."""
    unpruned: Unpruned | None
    """None: there was no round of pruning."""
    rounds: tuple[Round, ...]
    curves: tuple[Curve, ...]
    histograms: tuple[Histogram, ...]
    sparsity: SparsityReport
    quantization: QuantizationReport | None
    """None: nothing was quantized."""
    equivalence: tuple[EquivalenceRow, ...]
    builder: tuple[BuilderLog, ...]
    versions: Mapping[str, str]
    """Distribution -> version."""
    machine: Machine
    recipe: Mapping[str, JsonValue]
    """Every value decided."""
    reproduce: str
    """The command."""
    id: str
    """Name of the run's folder."""
    created: str
    """When the report was written: ISO 8601, UTC."""
    stages: tuple[Stage, ...]
    digest: str
    """Of what the report was made of: the same digest, the same report."""
    predictions: Predictions | None = None
    """None: the samples have not one class each, or the predictions were not kept."""
    samples: tuple[SamplePictures, ...] = ()
    """A few of the test split, where the task draws what networks find."""
    layer_costs: LayerReport | None = None
    round_times: RoundTimes | None = None
    """None: no network of a round was trained, or an earlier version wrote the report."""
    measured: str = "accuracy"
    """What the points of both networks are called."""
    beside: str = "dense"
    """What the network that is shipped was measured beside."""
    unit: str = "%"
    """Of them; empty: numbers."""
    parts: tuple[PartReport, ...] = ()
    """Points of each class, where they are a figure over the whole split."""
    headline: Headline | None = None
    """As written on the page; None where that is still to come."""
    folder: Path | None = None
    """Where it was read or written; not in ``report.json``, since folders move."""

    def to_dict(self) -> dict[str, JsonValue]:
        """Plain JSON values. A number that is not finite is None: JSON has no word for it."""
        plain = _adapter().dump_python(self, mode="json", by_alias=True, exclude_defaults=True)
        return cast("dict[str, JsonValue]", _finite(plain))

    def _repr_html_(self) -> str:
        """The report's page, in a notebook; where it is gone, the verdict."""
        try:
            page = ((self.folder or Path()) / "report.html").read_text()
        except OSError:
            lines = self.headline.lines if self.headline else ()
            title = self.headline.title if self.headline else self.name
            return "".join(f"<p>{html.escape(line)}</p>" for line in (title, *lines))
        style = "width: 100%; height: 80vh; border: 0"
        return f'<iframe srcdoc="{html.escape(page)}" style="{style}"></iframe>'


@cache
def _adapter() -> TypeAdapter[RunReport]:
    return TypeAdapter(RunReport)


def part(kind: type[Part], plain: Mapping[str, object]) -> Part:
    """One record of plain values, or of such that are records already.

    Raises:
        pydantic.ValidationError: a key is missing, or a value is not what it has to be.
    """
    return TypeAdapter(kind).validate_python(plain)


def of(plain: JsonValue) -> RunReport:
    """A whole report of plain JSON values; a number that is not finite counts as not known.

    Raises:
        pydantic.ValidationError: as of :func:`part`.
    """
    return _adapter().validate_python(_finite(plain))


def read(path: Path) -> RunReport:
    """The record in a ``report.json``.

    Raises:
        RecipeError: the file is cut or damaged, or another version of jetpress wrote it.
        OSError: it cannot be read.
    """
    try:
        plain = _finite(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):
        raise RecipeError(f"{path} is damaged: it is not whole JSON", AGAIN) from None
    if isinstance(plain, dict) and plain.get("format", FORMAT) != FORMAT:
        found = str(plain["format"])[:20]
        raise RecipeError(f"{path} has format {found}, this jetpress reads {FORMAT}", AGAIN)
    try:
        return replace(_adapter().validate_python(plain), folder=path.parent)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:80] or "the whole"
        said = f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise RecipeError(f"{path} is no report of this jetpress: {said}", AGAIN) from None


def _finite(value: JsonValue) -> JsonValue:
    """``value`` with every NaN and infinity in it made None: JSON has none of them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
