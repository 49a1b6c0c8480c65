"""The sections on what else was done to the network: training, 2:4, and what a runtime makes of it."""

from __future__ import annotations

from collections.abc import Sequence

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Mark, Plot, Section, Table, met
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.changes import Curve, SparseEngine, SparsityReport
from jetpress.benchmarks.report.wording import clock, error, number, percent, value


def training(run: RunReport) -> Section:
    """Loss and accuracy over the epochs of every stage that trained."""
    found = [curve for curve in run.curves if curve.points]
    if not found:
        return Section("training", "Training", missing="Nothing was trained, or the curves were not kept.")
    order = "; ".join(f"{number}: {curve.stage}" for number, curve in enumerate(found, 1))
    rows = [
        (
            curve.stage,
            str(one.epoch),
            number(one.loss),
            percent(one.validation),
            number(one.learning_rate),
            clock(one.seconds),
        )
        for curve in found
        for one in curve.points
    ]
    head = ("Stage", "Epoch", "Loss", "Validation", "Learning rate", "Time")
    table = Table(head, rows, "nrrrrr", "Every epoch", folded=True)
    drawn = _training_plots(found, run.measured)
    return Section("training", "Training", text=(f"Stages: {order}.",), plots=drawn, tables=(table,))


def _training_plots(found: Sequence[Curve], measured: str) -> list[Plot]:
    losses = [[(p.epoch, p.loss) for p in curve.points if p.loss is not None] for curve in found]
    accuracies = [
        [(p.epoch, p.validation) for p in curve.points if p.validation is not None] for curve in found
    ]
    drawn = []
    for series, key, title, label in (
        (losses, "loss", "Loss", "loss"),
        (accuracies, "validation", f"Validation {measured}", "%"),
    ):
        if any(series):
            last = next(points[-1][1] for points in reversed(series) if points)
            alt = f"{title} over the epochs of all stages; at the end {number(last)}."
            drawn.append(Plot(title, plots.curve(series, label, key), alt, series=()))
    return drawn


def sparsity(run: RunReport) -> Section:
    """Which layers are 2:4 sparse, or why none is."""
    found, title = run.sparsity, "2:4 sparsity"
    if found.skipped:
        return Section("sparsity", title, text=(f"Skipped: {found.skipped}",))
    rows = [
        (
            one.name,
            Mark("2:4", "good") if one.sparse else Mark("dense", "open"),
            one.reason or one.no_gain or "",
        )
        for one in found.layers
    ]
    table = Table(("Layer", "Kept as", "Why"), rows, "nsw", "2:4 sparsity of each layer", folded=True)
    return Section("sparsity", title, text=(_sparse(found),), tables=(table,) if rows else ())


def _sparse(found: SparsityReport) -> str:
    text = [f"{sum(one.sparse for one in found.layers)} of {len(found.layers)} layers are 2:4 sparse."]
    if found.eligible is not None:
        text.append(f"{found.eligible} layers were eligible.")
    if found.kept_magnitude is not None:
        text.append(f"The masks keep {percent(100 * found.kept_magnitude, 1)} of the weights' magnitude.")
    return " ".join([*text, *(_kernels(found.engine) if found.engine else ())])


def _kernels(engine: SparseEngine) -> list[str]:
    """What TensorRT made of it; a speed-up only with its interval."""
    counts = (engine.found, engine.chosen)
    found, chosen = ("an unknown number of" if one is None else value(one) for one in counts)
    text = [f"TensorRT found {found} layers fit for sparse kernels and chose them for {chosen}."]
    if engine.speed is None:
        return [*text, f"No speed-up by sparsity is claimed: {engine.why}."]
    ratio, low, high = (number(x, 3) for x in (engine.speed.value, engine.speed.low, engine.speed.high))
    faster = f"{ratio} times ({low} to {high}) as fast as the same network without sparse kernels"
    return [*text, f"Measured in one session: {faster}."]


def equivalence(run: RunReport) -> Section:
    """How far two runtimes differ on the same inputs."""
    if not run.equivalence:
        return Section("equivalence", "Equivalence", missing="No two runtimes were compared.")
    rows = [
        (
            one.pair,
            one.network,
            one.output,
            str(one.inputs),
            error(one.max_abs),
            error(one.max_rel),
            "" if one.cosine is None else f"{one.cosine:.6f}",
            "" if one.top1_agreement is None else percent(100 * one.top1_agreement, 1),
            met(one.met),
        )
        for one in run.equivalence
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
