"""The sections on predictions: where dense and compressed disagree, accuracy of each class, confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from jetpress.benchmarks.report.page import Mark, Matrix, Picture, Section, Shade, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.networks import PartReport
from jetpress.benchmarks.report.record.predictions import (
    Agreement,
    ClassPoints,
    Confusion,
    Disagreement,
    Predictions,
)
from jetpress.benchmarks.report.wording import figure, percent, points, sentence

Numbers = NDArray[np.integer]
CONFUSED, LISTED, MOST = 12, 12, 200
"""Classes of a confusion matrix, classes that are listed, and classes that are listed when asked for."""
UNKNOWN = "No sample of this task has one class, or the predictions were not kept."


def counted(
    labels: Numbers,
    dense: Numbers,
    compressed: Numbers,
    names: Sequence[str],
    disagreements: Sequence[Mapping[str, object]] = (),
) -> Predictions:
    """What the predictions come to.

    Args:
        labels: class of each sample ``[n]``.
        dense: the class that the dense network names ``[n]``.
        compressed: the compressed one.
        names: of the classes by number; a class beyond them is called by its number.
        disagreements: of each shown sample ``number``, ``label``, ``dense``, ``compressed`` and ``picture``.
    """
    count = max(len(names), *(int(some.max(initial=-1)) + 1 for some in (labels, dense, compressed)))
    called = [names[number] if number < len(names) else str(number) for number in range(count)]
    right, still = dense == labels, compressed == labels
    agreement = Agreement(
        both=int((right & still).sum()),
        only_dense=int((right & ~still).sum()),
        only_compressed=int((~right & still).sum()),
        neither=int((~right & ~still).sum()),
        same=int((dense == compressed).sum()),
    )
    totals, *known = (np.bincount(some, minlength=count) for some in (labels, labels[right], labels[still]))
    classes = tuple(
        ClassPoints(
            name=called[n], samples=int(totals[n]), dense=int(known[0][n]), compressed=int(known[1][n])
        )
        for n in range(count)
        if totals[n]
    )
    shown = tuple(
        Disagreement(
            number=int(str(one["number"])),
            picture=str(one["picture"]),
            **{key: called[int(str(one[key]))] for key in ("label", "dense", "compressed")},
        )
        for one in disagreements
    )
    confusion = _confusion(labels, (dense, compressed), called)
    return Predictions(agreement=agreement, classes=classes, confusion=confusion, disagreements=shown)


def _confusion(labels: Numbers, named: Sequence[Numbers], called: Sequence[str]) -> Confusion:
    """Both matrices; of more classes than fit those that take part in the most confusions of both networks."""
    count = len(called)
    wrong = np.zeros(count, np.int64)
    for some in named:
        for side in (labels, some):
            wrong += np.bincount(side[some != labels], minlength=count)
    chosen = np.sort(np.argsort(-wrong, kind="stable")[:CONFUSED])
    column = np.full(count, len(chosen))
    column[chosen] = np.arange(len(chosen))
    width = len(chosen) + (count > len(chosen))
    tables = []
    for some in named:
        inside = np.isin(labels, chosen)
        table = np.zeros((len(chosen), width), np.int64)
        np.add.at(table, (column[labels[inside]], column[some[inside]]), 1)
        tables.append(tuple(tuple(row) for row in table.tolist()))
    return Confusion(
        names=tuple(called[number] for number in chosen), dense=tables[0], compressed=tables[1], of=count
    )


def disagreements(run: RunReport) -> Section:
    """Samples that the two networks name differently, with their pictures."""
    title, found = "Where dense and compressed disagree", run.predictions
    if found is None:
        return Section("disagreements", title, missing=UNKNOWN)
    pictures = [_picture(one) for one in found.disagreements if one.picture]
    rows = [
        (str(one.number), one.label, _judged(one.dense, one.label), _judged(one.compressed, one.label))
        for one in found.disagreements
    ]
    head = ("Test sample", "Is", "Dense says", "Compressed says")
    tables = [Table(head, rows, "rlll", "These samples as a table", folded=bool(pictures))] if rows else []
    return Section("disagreements", title, text=_agreement(found), pictures=pictures, tables=tables)


def _agreement(found: Predictions) -> list[str]:
    one = found.agreement
    count = one.both + one.only_dense + one.only_compressed + one.neither
    differ = count - one.same
    if not differ:
        return [f"Both name the same class for all {count:,} test samples."]
    neither = differ - one.only_dense - one.only_compressed
    sides = (("dense", one.only_dense), ("compressed", one.only_compressed), ("neither", neither))
    right = ", ".join(f"{'' if side == 'neither' else 'only '}{side} on {n:,}" for side, n in sides if n)
    share = percent(100 * differ / count, 1)
    text = (
        f"They name different classes for {differ:,} of {count:,} test samples ({share}). Right is {right}."
    )
    shown = len(found.disagreements)
    return [text] if shown == differ else [text, f"{shown} of them:"]


def _judged(said: str, label: str) -> Mark:
    return Mark(f"{said} \N{CHECK MARK}", "good") if said == label else Mark(f"{said} \N{BALLOT X}", "bad")


def _picture(one: Disagreement) -> Picture:
    alt = f"Test sample {one.number}, a picture of class {one.label}."
    said = [
        (name, _judged(answer, one.label))
        for name, answer in (("dense", one.dense), ("compressed", one.compressed))
    ]
    return Picture(one.picture, alt, f"Sample {one.number}", [("is", Mark(one.label, "plain")), *said])


def classes(run: RunReport) -> Section:
    """Accuracy of each class, and which is taken for which."""
    title, found = "Accuracy of each class", run.predictions
    if found is None and run.parts:
        return _parts(run)
    if found is None:
        return Section("classes", title, missing=UNKNOWN)
    order = sorted(found.classes, key=lambda one: (one.compressed - one.dense, one.compressed / one.samples))
    few = len(order) <= LISTED
    text = [] if few else [f"The {LISTED} classes that lose most, of {len(order)}."]
    head = ("Class", "Samples", "Dense", "Compressed", "Change")
    tables = [Table(head, [_row(one) for one in order[:LISTED]], "lrrrr", title)]
    if not few:
        rest = [_row(one) for one in order[LISTED:MOST]]
        tables.append(Table(head, rest, "lrrrr", "More classes", folded=True))
    if len(order) > MOST:
        text.append(f"{len(order) - MOST} more are in report.json.")
    return Section("classes", title, text=text, tables=tables, matrices=_matrices(found.confusion))


def _parts(run: RunReport) -> Section:
    """The figure of each class, those that lose most first."""
    title = f"{sentence(run.measured)} of each class"

    def gained(one: PartReport) -> float:
        return (one.compressed or 0.0) - (one.dense or 0.0)

    order = sorted(run.parts, key=gained)
    rows = [
        (one.name, figure(one.dense, run.unit), figure(one.compressed, run.unit), points(gained(one)))
        for one in order
    ]
    head = ("Class", "Dense", "Compressed", "Change")
    tables = [Table(head, rows[:LISTED], "lrrr", title)]
    if len(rows) > LISTED:
        tables.append(Table(head, rows[LISTED:MOST], "lrrr", "More classes", folded=True))
    return Section("classes", title, tables=tables)


def _change(one: ClassPoints) -> float:
    return 100 * (one.compressed - one.dense) / one.samples


def _row(one: ClassPoints) -> tuple[str, ...]:
    dense, compressed = (percent(100 * right / one.samples, 1) for right in (one.dense, one.compressed))
    change = points(_change(one)) if one.dense != one.compressed else ""
    return one.name, f"{one.samples:,}", dense, compressed, change


def _matrices(found: Confusion) -> list[Matrix]:
    """A row for each class, a column for each that is named."""
    some = len(found.names) < found.of
    note = f"The {len(found.names)} of {found.of} classes that are confused most. " if some else ""
    heads = (*found.names, "other") if some else found.names
    return [
        Matrix(
            f"Confusion matrix, {name}",
            heads,
            tuple(
                (found.names[n], [_shade(row, n, m) for m in range(len(row))]) for n, row in enumerate(rows)
            ),
            f"{note}Row: the class of a sample; column: what it is taken for.",
        )
        for name, rows in (("dense", found.dense), ("compressed", found.compressed))
    ]


def _shade(row: Sequence[int], place: int, at: int) -> Shade:
    """A count, the darker the larger its share of the row; empty for none."""
    count, whole = row[at], sum(row)
    depth = -(-5 * count // whole) if whole else 0
    return Shade(f"{count:,}" if count else "", f"{'right' if at == place else 'wrong'}{depth}")
