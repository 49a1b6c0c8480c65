from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import confusion_matrix

from jetpress.benchmarks.report import record
from jetpress.benchmarks.report.predictions import classes, counted, disagreements
from jetpress.benchmarks.report.record import RunReport
from tests.benchmarks.runs import plain, realistic


def drawn(classes: int, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, samples)
    dense, compressed = (
        np.where(rng.random(samples) < share, rng.integers(0, classes, samples), labels)
        for share in (0.1, 0.2)
    )
    return labels, dense, compressed


def run_with(**changes: Any) -> RunReport:
    return record.of({**realistic(), **changes})


@pytest.mark.parametrize("samples", [0, 1, 300])
def test_few_classes_are_all_in_the_matrix(samples: int) -> None:
    labels, dense, compressed = drawn(7, samples)
    found = counted(labels, dense, compressed, list("abcdefg"))
    for table, named in ((found.confusion.dense, dense), (found.confusion.compressed, compressed)):
        assert np.array_equal(
            table, confusion_matrix(labels, named, labels=range(7)) if samples else np.zeros((7, 7))
        )
    one = found.agreement
    assert one.both + one.only_dense + one.only_compressed + one.neither == samples
    assert one.same == (dense == compressed).sum()
    assert sum(c.samples for c in found.classes) == samples
    assert sum(c.dense for c in found.classes) == one.both + one.only_dense
    assert sum(c.compressed for c in found.classes) == one.both + one.only_compressed


def test_of_many_classes_the_most_confused_are_in_the_matrix() -> None:
    labels, dense, compressed = drawn(1000, 5000)
    labels[:100], dense[:100], compressed[:100] = 417, 417, 418
    found = counted(labels, dense, compressed, [f"class {n}" for n in range(1000)])
    assert {"class 417", "class 418"} <= set(found.confusion.names)
    rows = dict(zip(found.confusion.names, found.confusion.compressed, strict=True))
    assert sum(rows["class 417"]) == (labels == 417).sum()
    assert {len(row) for row in rows.values()} == {13}
    section = classes(run_with(predictions=plain(found)))
    assert [len(matrix.rows) for matrix in section.matrices] == [12, 12]
    assert section.tables[0].rows[0][0] == "class 417"
    assert sum(len(table.rows) for table in section.tables) == 200


def test_a_class_without_a_name_is_called_by_its_number() -> None:
    found = counted(np.array([0, 2]), np.array([0, 2]), np.array([0, 1]), ["cat"])
    assert [one.name for one in found.classes] == ["cat", "2"]
    assert found.confusion.names == ("cat", "1", "2")


def test_what_is_right_is_marked_by_more_than_a_colour() -> None:
    section = disagreements(run_with())
    for picture in section.pictures:
        (_, label), (_, dense), (_, compressed) = picture.said
        for answer in (dense, compressed):
            assert answer == (f"{label} ✓" if answer.tone == "good" else answer)
            assert answer[-1] == ("✓" if answer.tone == "good" else "✗")
        assert dense != compressed


def test_networks_that_agree() -> None:
    labels = np.arange(10)
    section = disagreements(run_with(predictions=plain(counted(labels, labels, labels, []))))
    assert section.text == ["Both name the same class for all 10 test samples."]
    assert not section.pictures
    assert not section.tables


def test_a_task_without_classes_says_so() -> None:
    run = run_with(predictions=None)
    assert disagreements(run).missing
    assert classes(run).missing


@pytest.mark.parametrize(
    "picture", ["https://example.org/a.png", "data:text/html;base64,AA==", 'data:image/png;base64,A"']
)
def test_a_picture_is_nothing_but_a_picture(picture: str, tmp_path: Path) -> None:
    run = realistic()
    run["predictions"]["disagreements"][0]["picture"] = picture
    with pytest.raises(ValidationError):
        record.of(run)
