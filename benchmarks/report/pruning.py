"""The sections on pruning: channels of each layer, and the rounds."""

from __future__ import annotations

from collections.abc import Sequence

from jetpress.benchmarks import accuracy
from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Mark, Plot, Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.changes import Round, RoundTime, Try
from jetpress.benchmarks.report.wording import ms, number, percent, sentence, value
from jetpress.benchmarks.stats import Interval


def layers(run: RunReport) -> Section:
    """Channels of each layer before and after."""
    found, title = run.layers, "Channels of each layer"
    stayed, notes = _stayed(run), _notes(run)
    if not found:
        missing = "No channels were removed, or none are known."
        return Section("layers", title, missing="" if stayed else missing, text=notes, tables=stayed)
    before, after = [layer.before for layer in found], [layer.after for layer in found]
    kept = 100 * sum(after) / max(sum(before), 1)
    changed = sum(a != b for a, b in zip(after, before, strict=True))
    left = f"{sum(after):,} of {sum(before):,} channels are left"
    said = f"{changed} of {len(found)} layers lost channels; {left}."
    rows = [
        (
            str(place),
            x.name,
            f"{x.before:,}",
            f"{x.after:,}",
            f"{100 * x.after / x.before:.0f} %" if x.before else "",
        )
        for place, x in enumerate(found, 1)
    ]
    head = ("", "Layer", "Before", "After", "Kept")
    table = Table(head, rows, "rnrrr", "Channels of each layer", folded=True)
    plot = Plot("Before and after", plots.channels(before, after), f"Bars: {said} That is {kept:.0f} %.")
    return Section("layers", title, text=(said, *notes), plots=(plot,), tables=(table, *stayed))


def _stayed(run: RunReport) -> tuple[Table, ...]:
    """Layers that were not pruned, with the operator or the rule that keeps them."""
    if run.unpruned is None or not run.unpruned.fixed:
        return ()
    rows = list(run.unpruned.fixed.items())
    return (Table(("Layer", "What keeps it"), rows, "nw", "Layers that stay whole", folded=True),)


def _notes(run: RunReport) -> tuple[str, ...]:
    """What else must be known about the pruned network."""
    notes = []
    if run.unpruned is not None and run.unpruned.as_graph is not None:
        notes.append(f"The network goes on as its traced graph: {run.unpruned.as_graph}.")
    if blocks := [name for one in run.rounds if one.kept for name in one.blocks]:
        notes.append(f"Whole blocks were removed: {', '.join(blocks)}.")
    if checks := [one.check for one in run.rounds if one.check]:
        worst = max(checks, key=lambda check: check.error)
        notes.append(
            "Every cut network was held against the dense one without those channels, on random weights: the outputs "
            f"differ by {worst.error:.0e} of the largest at most ({worst.precision} precision)."
        )
    return tuple(notes)


def rounds(run: RunReport) -> Section:
    """Every round of pruning, the rejected ones too."""
    found = run.rounds
    if not found:
        return Section("rounds", "Rounds of pruning", missing="No channels were pruned.")
    times = {one.round: one for one in run.round_times.rounds} if run.round_times else {}
    head = (
        "Round",
        "Ratio",
        "Channels removed",
        "Pruned",
        "Recalibrated",
        "Fine-tuned",
        "Latency",
        "",
        "Why",
    )
    text = (
        f"Validation {run.measured} right after pruning, after new batch statistics, and after fine-tuning."
    )
    table = Table(head, [_row(one, times.get(one.round)) for one in found], "rrrrrrrsw", "Rounds of pruning")
    tables = (table, *_tries(found))
    return Section(
        "rounds", "Rounds of pruning", text=(text, *_missed(found)), plots=_frontier(run), tables=tables
    )


def _frontier(run: RunReport) -> list[Plot]:
    """Points over milliseconds where every round was timed, else over multiply-adds."""
    done = [one for one in run.rounds if one.validation is not None]
    if run.dense.validation is None or not done:
        return []
    label, costs, note = _costs(run, done)
    if not costs:
        return []
    heights = [run.dense.validation, *(one.validation for one in done if one.validation is not None)]
    kept = [True, *(one.kept for one in done)]
    samples = run.verdict.validation_samples if run.verdict.mean else None
    networks = [
        plots.Tried(cost, accuracy.mean(y, samples) if samples else _sure(y), good)
        for cost, y, good in zip(costs, heights, kept, strict=True)
    ]
    said = "; ".join(
        f"{place or 'dense'}: {percent(one.points.value)} at {number(one.cost.value)} {label}"
        for place, one in enumerate(networks)
    )
    title = f"{sentence(run.measured)} against {'latency' if label == 'ms' else label}, over the rounds"
    upright = "Bars upright: the 95 % interval of the points." if samples else ""
    notes = [note, upright, "Hollow: the round was not kept." if not all(kept) else ""]
    drawn = plots.frontier(networks, label)
    return [Plot(title, drawn, f"Points joined by a line. {said}.", " ".join(filter(None, notes)), series=())]


def _costs(run: RunReport, done: Sequence[Round]) -> tuple[str, list[Interval], str]:
    """What the dense network and those of the rounds cost: the unit, the numbers, and what must be known of them."""
    found = run.round_times
    times = {one.round: one for one in found.rounds} if found else {}
    if found and found.dense_ms is not None and times.keys() >= {one.round for one in done}:
        taken = [_span(times[one.round]) for one in done]
        note = f"All in turns, {found.turns} each, in one short session and before anything is quantized."
        if any(one.low < one.high for one in taken):
            note += " Bars across: the interval of the share of the dense network's time, in that session."
        return "ms", [_sure(found.dense_ms), *taken], note
    measured = [one.time for one in done if one.time]
    if len(measured) == len(done):
        return "ms", [_sure(measured[0].dense_ms), *(_sure(one.measured_ms) for one in measured)], ""
    macs = [one.macs for one in done if one.macs is not None]
    if len(macs) < len(done) or run.dense.macs is None:
        return "", [], ""
    why = f"Their latency was not measured: {found.untimed}." if found and found.untimed else ""
    return "million multiply-adds", [_sure(n / 1e6) for n in (run.dense.macs, *macs)], why


def _span(time: RoundTime) -> Interval:
    low, high = (time.ms if end is None else end for end in (time.low, time.high))
    return Interval(time.ms, low, high)


def _sure(value: float) -> Interval:
    return Interval(value, value, value)


def _row(one: Round, taken: RoundTime | None) -> tuple[str, ...]:
    return (
        str(one.round),
        percent(None if one.ratio is None else 100 * one.ratio, 0),
        value(one.removed_channels),
        *(percent(x) for x in (one.after_pruning, one.after_recalibration, one.validation)),
        ms(taken.ms if taken else one.time.measured_ms if one.time else None),
        Mark("kept", "good") if one.kept else Mark("rejected", "bad"),
        one.why or ("nothing was removed" if one.pruned is False else ""),
    )


def _missed(found: Sequence[Round]) -> list[str]:
    """Rounds that are slower than the recipe wants: widths that are faster were not found."""
    return [
        f"Round {one.round} missed its time: {number(one.time.measured_ms)} ms were measured, "
        f"{number(one.time.limit_ms)} ms wanted."
        for one in found
        if one.time and not one.time.met
    ]


def _tries(found: Sequence[Round]) -> tuple[Table, ...]:
    """Where the goal was a time: what was estimated, and what the whole network then took."""
    rows = [
        (str(one.round), number(x.estimate_ms), number(x.measured_ms), number(one.time.limit_ms), _off(x))
        for one in found
        if one.time
        for x in one.time.tries
    ]
    head = ("Round", "Sum of the layers, ms", "Measured, ms", "Wanted, ms", "")
    return (Table(head, rows, "rrrrw", "Time as estimated and as measured"),) if rows else ()


def _off(one: Try) -> str:
    """Said where time does not fall as the layers promise."""
    ratio = one.measured_ms / one.estimate_ms
    if abs(ratio - 1) <= 0.1:
        return ""
    return f"{abs(ratio - 1) * 100:.0f} % {'slower' if ratio > 1 else 'faster'} than the sum"
