"""The opset benchmark: what counts, what is a reason, and what the page says of networks that were not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jetpress.pipeline.network import detectors
from jetpress.pipeline.recipe.sections.model import InputConfig
from studies import opsets, opsets_table

EQUAL = {"delivered": 17, "error": 1e-6, "refused": "", "rtx": {"ok": True}}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorRT-RTX
def test_the_smallest_network_at_every_opset() -> None:
    record = opsets.one("torchvision:squeezenet1_1")
    assert list(opsets_table.failures(record)) == []
    assert [one["delivered"] for one in record["opsets"].values()] == [13, 17, 20]
    assert record["opsets"]["17"]["rtx"]["ok"]
    assert not opsets.stale(record)
    del record["opsets"]["20"]["refused"]
    assert opsets.stale(record)


@pytest.mark.parametrize(
    ("found", "where", "why"),
    [
        ({"delivered": 18, "error": 0.0}, "17", "delivered at 18"),
        ({"delivered": 17, "error": 0.5}, "17", "differs by 5.0e-01"),
        ({"delivered": 17, "error": float("nan")}, "17", "differs by nan"),
        ({"reason": "StageError: GridSample"}, "17", "GridSample"),
        (EQUAL | {"refused": "CastLike: 10.0 has it"}, "TensorRT 8.5", "CastLike"),
        (EQUAL | {"rtx": {"ok": False, "reason": "no kernel"}}, "RTX", "no kernel"),
    ],
)
def test_what_does_not_count(found: dict[str, Any], where: str, why: str) -> None:
    ((place, reason),) = opsets_table.failures({"network": "x", "opsets": {"17": found}})
    assert (place, why in reason) == (where, True)


def test_equality_of_what_never_moves_says_nothing() -> None:
    record = {"network": "x", "moves": 1e-9, "opsets": {"17": EQUAL}}
    assert "says nothing" in next(iter(opsets_table.failures(record)))[1]


def test_the_page_counts_and_says_what_was_not_run(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    good = {
        "network": "torchvision:resnet18",
        "opsets": {str(o): EQUAL | {"delivered": o} for o in (13, 17, 20)},
    }
    bad = {"network": "segmentation:fcn_resnet50", "opsets": {}, "error": "no | result"}
    earlier = {**bad, "network": "torchvision:resnet18"}
    results.write_text("\n".join(map(json.dumps, (earlier, good, bad))))
    page = opsets_table.table(results, tmp_path / "missing.jsonl")
    passed = " | ".join(["1 (1e-06)"] * 3 + ["1 of 1"] * 4)
    assert f"| torchvision classifiers | 1 of 80 | {passed} |" in page
    assert "| torchvision segmentation | 1 of 6 | 0 | 0 | 0 | - | - | - | - |" in page
    assert "| segmentation:fcn_resnet50 | all | no / result |" in page
    assert "torchvision:resnet50" in page.split("Not run yet")[1]


def test_one_stage_detectors_are_what_a_run_exports() -> None:
    module, (shape,) = opsets.exported("detection:ssdlite320_mobilenet_v3_large")
    assert (type(module), shape.shape) == (detectors.Detector, (3, 320, 320))


def test_blocks_that_begin_switched_off_are_switched_on() -> None:
    block = nn.BatchNorm2d(3)
    block.scale = nn.Parameter(torch.full((3, 1, 1), 1e-6))
    with torch.no_grad():
        opsets.as_trained(block, (InputConfig((3, 8, 8)),))
    assert (block.scale == 0.5).all()
    assert (block.bias == 0).all()
    assert (block.weight == 1).all()
    assert block.running_mean is not None
    assert block.running_mean.any()


def test_small_networks_come_first() -> None:
    names = opsets_table.subjects()["torchvision"]
    assert len(names) == 80
    assert names[0] == "torchvision:squeezenet1_1"
    assert opsets_table.parameters(names[-1]) > 6e8
