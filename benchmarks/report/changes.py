"""The sections on what was done to the network: channels, rounds, training, sparsity, equivalence."""

from __future__ import annotations

from typing import Any

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Mark, Plot, Run, Section, Table, at, listed, met
from jetpress.benchmarks.report.wording import clock, error, number, percent, value


def layers(run: Run) -> Section:
    """Channels of each layer before and after."""
    found = [x for x in listed(run, "layers") if at(x, "before") is not None and at(x, "after") is not None]
    title = "Channels of each layer"
    stayed, notes = _unpruned(run)
    if not found:
        missing = "No channels were removed, or none are known."
        return Section("layers", title, missing="" if stayed else missing, text=notes, tables=stayed)
    before, after = [x["before"] for x in found], [x["after"] for x in found]
    kept = 100 * sum(after) / max(sum(before), 1)
    changed = sum(a != b for a, b in zip(after, before, strict=True))
    left = f"{sum(after):,} of {sum(before):,} channels are left"
    said = f"{changed} of {len(found)} layers lost channels; {left}."
    rows = [
        (str(i), value(at(x, "name")), f"{b:,}", f"{a:,}", f"{100 * a / b:.0f} %" if b else "")
        for i, (x, b, a) in enumerate(zip(found, before, after, strict=True), 1)
    ]
    table = Table(
        ("", "Layer", "Before", "After", "Kept"), rows, "rnrrr", "Channels of each layer", folded=True
    )
    plot = Plot("Before and after", plots.channels(before, after), f"Bars: {said} That is {kept:.0f} %.")
    return Section("layers", title, text=(said, *notes), plots=(plot,), tables=(table, *stayed))


def _unpruned(run: Run) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """Layers that were not pruned with the operator or the rule that keeps them, and what else must be known."""
    found = at(run, "unpruned") or {}
    fixed, notes = at(found, "fixed") or {}, []
    if at(found, "as_graph") is not None:
        notes.append(f"The network goes on as its traced graph: {value(found['as_graph'])}.")
    blocks = [name for one in listed(run, "rounds") if at(one, "kept") for name in at(one, "blocks") or ()]
    if blocks:
        notes.append(f"Whole blocks were removed: {', '.join(map(value, blocks))}.")
    checks = [one["check"] for one in listed(run, "rounds") if at(one, "check")]
    if checks:
        worst = max(checks, key=lambda check: float(check["error"]))
        notes.append(
            "Every cut network was held against the dense one without those channels, on random weights: the outputs "
            f"differ by {float(worst['error']):.0e} of the largest at most ({value(worst['precision'])} precision)."
        )
    if not fixed:
        return (), tuple(notes)
    rows = [(value(name), value(why)) for name, why in fixed.items()]
    return (Table(("Layer", "What keeps it"), rows, "nw", "Layers that stay whole", folded=True),), tuple(
        notes
    )


def rounds(run: Run) -> Section:
    """Every round of pruning, the rejected ones too."""
    found = listed(run, "rounds")
    if not found:
        return Section("rounds", "Rounds of pruning", missing="No channels were pruned.")
    rows = [
        (
            value(at(r, "round")),
            percent(None if at(r, "ratio") is None else 100 * r["ratio"], 0),
            value(at(r, "removed_channels")),
            *(percent(at(r, key)) for key in ("after_pruning", "after_recalibration", "validation")),
            Mark("kept", "good") if at(r, "kept") else Mark("rejected", "bad"),
            value(at(r, "why") or ("" if at(r, "pruned") is not False else "nothing was removed")),
        )
        for r in found
    ]
    head = ("Round", "Ratio", "Channels removed", "Pruned", "Recalibrated", "Fine-tuned", "", "Why")
    text = "Validation accuracy right after pruning, after new batch statistics, and after fine-tuning."
    table = Table(head, rows, "rrrrrrsw", "Rounds of pruning")
    return Section(
        "rounds", "Rounds of pruning", text=(text, *_missed(found)), tables=(table, *_tries(found))
    )


def _missed(found: list[Run]) -> list[str]:
    """Rounds that are slower than the recipe wants: widths that are faster were not found."""
    times = [(at(r, "round"), at(r, "time")) for r in found if at(r, "time")]
    return [
        f"Round {value(which)} missed its time: {number(at(time, 'measured_ms'))} ms were measured, "
        f"{number(at(time, 'limit_ms'))} ms wanted."
        for which, time in times
        if at(time, "met") is False
    ]


def _tries(found: list[Run]) -> tuple[Table, ...]:
    """Where the goal was a time: what was estimated, and what the whole network then took."""
    rows = [
        (value(at(r, "round")), *(number(at(x, key)) for x in (one,) for key in ("estimate_ms", "measured_ms")),
         number(at(at(r, "time"), "limit_ms")), _off(one))
        for r in found
        for one in (listed(at(r, "time"), "tries") if at(r, "time") else ())
    ]  # fmt: skip
    head = ("Round", "Sum of the layers, ms", "Measured, ms", "Wanted, ms", "")
    return (Table(head, rows, "rrrrw", "Time as estimated and as measured"),) if rows else ()


def _off(one: Run) -> str:
    """Said where time does not fall as the layers promise."""
    ratio = one["measured_ms"] / one["estimate_ms"]
    return (
        f"{abs(ratio - 1) * 100:.0f} % {'slower' if ratio > 1 else 'faster'} than the sum"
        if abs(ratio - 1) > 0.1
        else ""
    )


def training(run: Run) -> Section:
    """Loss and accuracy over the epochs of every stage that trained."""
    found = [(value(at(c, "stage")), listed(c, "points")) for c in listed(run, "curves")]
    found = [(stage, points) for stage, points in found if points]
    if not found:
        return Section("training", "Training", missing="Nothing was trained, or the curves were not kept.")
    order = "; ".join(f"{number}: {stage}" for number, (stage, _) in enumerate(found, 1))
    drawn = []
    for key, title, label in (("loss", "Loss", "loss"), ("validation", "Validation accuracy", "%")):
        series = [
            [(at(p, "epoch"), at(p, key)) for p in points if None not in (at(p, "epoch"), at(p, key))]
            for _, points in found
        ]
        if any(series):
            last = next(points[-1][1] for points in reversed(series) if points)
            alt = f"{title} over the epochs of all stages; at the end {number(last)}."
            drawn.append(Plot(title, plots.curve(series, label, key), alt, series=()))
    rows = [
        (
            stage,
            value(at(p, "epoch")),
            number(at(p, "loss")),
            percent(at(p, "validation")),
            number(at(p, "learning_rate")),
            clock(at(p, "seconds")),
        )
        for stage, points in found
        for p in points
    ]
    head = ("Stage", "Epoch", "Loss", "Validation", "Learning rate", "Time")
    table = Table(head, rows, "nrrrrr", "Every epoch", folded=True)
    return Section("training", "Training", text=(f"Stages: {order}.",), plots=drawn, tables=(table,))


def sparsity(run: Run) -> Section:
    """Which layers are 2:4 sparse, or why none is."""
    found, title = at(run, "sparsity"), "2:4 sparsity"
    if not found:
        return Section("sparsity", title, missing="Nothing is known about it.")
    if why := at(found, "skipped"):
        return Section("sparsity", title, text=(f"Skipped: {value(why)}",))
    inside = listed(found, "layers")
    sparse = sum(bool(at(x, "sparse")) for x in inside)
    text = [f"{sparse} of {len(inside)} layers are 2:4 sparse."]
    if (eligible := at(found, "eligible")) is not None:
        text.append(f"{value(eligible)} layers were eligible.")
    if (kept := at(found, "kept_magnitude")) is not None:
        text.append(f"The masks keep {percent(100 * kept, 1)} of the weights' magnitude.")
    text += _kernels(at(found, "engine"))
    rows = [
        (
            value(at(x, "name")),
            Mark("2:4", "good") if at(x, "sparse") else Mark("dense", "open"),
            value(at(x, "reason") or at(x, "no_gain") or ""),
        )
        for x in inside
    ]
    table = Table(("Layer", "Kept as", "Why"), rows, "nsw", "2:4 sparsity of each layer", folded=True)
    return Section("sparsity", title, text=(" ".join(text),), tables=(table,) if rows else ())


def _kernels(engine: Any) -> list[str]:
    """What TensorRT made of it; a speed-up only with its interval."""
    if not engine:
        return []
    counts = (at(engine, "found"), at(engine, "chosen"))
    found, chosen = ("an unknown number of" if one is None else value(one) for one in counts)
    text = [f"TensorRT found {found} layers fit for sparse kernels and chose them for {chosen}."]
    if speed := at(engine, "speed"):
        bounds = (number(at(speed, key), 3) for key in ("value", "low", "high"))
        text.append(
            "Measured in one session: {} times ({} to {}) as fast as the same network without sparse kernels.".format(
                *bounds
            )
        )
    else:
        text.append(f"No speed-up by sparsity is claimed: {value(at(engine, 'why'))}.")
    return text


def equivalence(run: Run) -> Section:
    """How far two runtimes differ on the same inputs."""
    found = listed(run, "equivalence")
    if not found:
        return Section("equivalence", "Equivalence", missing="No two runtimes were compared.")
    rows = [
        (
            value(at(e, "pair")),
            value(at(e, "network")),
            value(at(e, "output")),
            value(at(e, "inputs")),
            error(at(e, "max_abs")),
            error(at(e, "max_rel")),
            "" if at(e, "cosine") is None else f"{e['cosine']:.6f}",
            _share(at(e, "top1_agreement")),
            met(at(e, "met")),
        )
        for e in found
    ]
    head = (
        "Pair",
        "Network",
        "Output",
        "Inputs",
        "Largest error",
        "Relative",
        "Cosine",
        "Same top 1",
        "Verdict",
    )
    text = "The same inputs through two runtimes: how far their outputs differ at most."
    table = Table(head, rows, "llnrrrrrs", "Equivalence")
    return Section("equivalence", "Equivalence", text=(text,), tables=(table,))


def _share(part: float | None) -> str:
    return "" if part is None else percent(100 * part, 1)
