"""The sections on single layers: what each takes, dense against compressed, and the roofline of the target."""

from __future__ import annotations

from collections.abc import Sequence

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Plot, Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.layers import LayerCost, LayerPair, LayerReport, Profiled, Roof
from jetpress.benchmarks.report.wording import MISSING, ms, number, percent, quantity

SLOWEST = 8
TIMES, ROOFLINE = "Time of each layer", "Roofline"


def times(run: RunReport) -> Section:
    """What each layer takes under the profiler, in both networks."""
    found = run.layer_costs
    if found is None or found.dense is None or found.compressed is None:
        why = found.untimed if found and found.untimed else "no engine ran, or its layers were not timed"
        return Section("layer-times", TIMES, missing=f"{why[:1].upper()}{why[1:]}.")
    numbered = list(enumerate(found.layers, 1))
    head = ("", "Layer", "Dense", "Compressed", "Ratio", "MACs, dense", "compressed")
    slowest = sorted(numbered, key=lambda one: -_ms(one[1].compressed))[:SLOWEST]
    tables = [
        Table(
            head, [_row(*one) for one in slowest], "rnrrrrr", "The slowest layers of the compressed network"
        )
    ]
    if len(numbered) > SLOWEST:
        every = [_row(*one) for one in numbered]
        tables.append(Table(head, every, "rnrrrrr", "All layers, in the order of the network", folded=True))
    series = [[_ms(getattr(pair, name)) for pair in found.layers] for name in ("dense", "compressed")]
    alt = "Two bars for each layer in the order of the network: milliseconds in the dense and the compressed engine."
    plot = Plot("Each layer under the profiler", plots.layer_times(*series), alt, "Numbers as in the table.")
    text = (_profiled(found.dense, series[0], "dense"), _profiled(found.compressed, series[1], "compressed"))
    note = (
        "A profiled run is slower than a plain one, so these times say where the time goes and are none to quote. "
        "What a runtime fuses is counted with the layer that it follows."
    )
    return Section("layer-times", TIMES, text=(" ".join(text), note), plots=(plot,), tables=tables)


def _ms(one: LayerCost | None) -> float:
    return 0.0 if one is None or one.ms is None else one.ms


def _profiled(found: Profiled, layers: Sequence[float], name: str) -> str:
    return (
        f"{name.capitalize()}: {ms(found.whole)} as a whole; under the profiler its layers take {ms(sum(layers))}, "
        f"what belongs to none of them {ms(found.rest)}."
    )


def _row(place: int, pair: LayerPair) -> tuple[str, ...]:
    before, after = _ms(pair.dense), _ms(pair.compressed)
    faster = f"{before / after:.2f} ×" if before and after and before != after else ""
    return (
        str(place),
        pair.name,
        *(ms(one) if one else MISSING for one in (before, after)),
        faster,
        *(quantity(one.macs) if one else MISSING for one in (pair.dense, pair.compressed)),
    )


def roofline(run: RunReport) -> Section:
    """How far each layer is from what the target does at best."""
    found = run.layer_costs
    if found is None or found.roof is None or not found.layers:
        missing = "What this target does at best in this precision is not known from a source."
        return Section("roofline", ROOFLINE, missing=missing)
    roof, ridge = found.roof, found.roof.operations / found.roof.bandwidth
    dots = [_dots(found, name, roof) for name in ("dense", "compressed")]
    timed = found.compressed is not None
    note = (
        "A dot is a layer, where it was measured."
        if timed
        else "A dot is a layer, on the roof: none was measured."
    )
    peak, bandwidth = (f"{number(x / 1e9, 3)} G" for x in (roof.operations, roof.bandwidth))
    alt = (
        f"Operations in a second over operations for each byte, both logarithmic: a slope of {bandwidth}B/s up to "
        f"{number(ridge, 3)} operations for each byte, then flat at {peak} operations in a second; dots for the layers."
    )
    plot = Plot(
        f"{roof.precision.upper()}",
        plots.roofline(dots[0], dots[1], roof.operations, roof.bandwidth),
        alt,
        note,
    )
    return Section(
        "roofline", ROOFLINE, text=_bounds(found, roof, ridge), plots=(plot,), tables=(_table(found, roof),)
    )


def _sides(found: LayerReport, name: str) -> list[LayerCost]:
    return [
        one for pair in found.layers if (one := getattr(pair, name)) is not None and one.macs and one.bytes
    ]


def _best_s(one: LayerCost, roof: Roof) -> float:
    """Seconds that a layer takes at least."""
    return max(2 * one.macs / roof.operations, one.bytes / roof.bandwidth)


def _dots(found: LayerReport, name: str, roof: Roof) -> list[tuple[float, float]]:
    """Of each layer operations for each byte, and in a second: measured, or at best."""
    return [
        (2 * one.macs / one.bytes, 2 * one.macs / (one.ms / 1000 if one.ms else _best_s(one, roof)))
        for one in _sides(found, name)
    ]


def _bounds(found: LayerReport, roof: Roof, ridge: float) -> list[str]:
    best = (
        f"At best {number(roof.operations / 1e12)} T operations in {roof.precision.upper()} and "
        f"{number(roof.bandwidth / 1e9)} GB in a second: {roof.source}. Below {number(ridge)} operations for each byte "
        "memory is the limit, above it arithmetic. A layer's bytes are its input, weights and output, each once."
    )
    text = [best]
    for name in ("dense", "compressed"):
        some = _sides(found, name)
        bound = sum(2 * one.macs / one.bytes < ridge for one in some)
        least = 1000 * sum(_best_s(one, roof) for one in some)
        whole = getattr(found, name)
        took = f"; it takes {ms(whole.whole)}" if whole else ""
        share = percent(100 * bound / len(some), 0) if some else MISSING
        text.append(
            f"{name.capitalize()}: memory is the limit of {bound} of {len(some)} layers ({share}); a run takes "
            f"{ms(least)} at least{took}."
        )
    return text


def _table(found: LayerReport, roof: Roof) -> Table:
    rows = [
        (
            str(place),
            pair.name,
            *(_intensity(one) for one in (pair.dense, pair.compressed)),
            *(ms(1000 * _best_s(one, roof)) if one else MISSING for one in (pair.dense, pair.compressed)),
        )
        for place, pair in enumerate(found.layers, 1)
    ]
    head = ("", "Layer", "Operations a byte, dense", "compressed", "At least, dense", "compressed")
    return Table(head, rows, "rnrrrr", "Each layer at best", folded=True)


def _intensity(one: LayerCost | None) -> str:
    return MISSING if one is None or not one.bytes else number(2 * one.macs / one.bytes, 3)
