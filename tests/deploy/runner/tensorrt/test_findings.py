"""What the builder says, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.deploy.runner.tensorrt import findings

ELIGIBLE = "(Sparsity) Layers eligible for sparse math: "
PICKED = "(Sparsity) TRT inference plan picked sparse implementation for layers: "
SKIPPED = "WARNING: Skipping tactic 3 due to insufficient memory on requested size of 1073741824 detected"
INT64 = (
    "WARNING: Your ONNX model has been generated with INT64 weights, while TensorRT does not support INT64."
)
FALLBACK = (
    "WARNING: Layer 'x' (POOLING): Unsupported on DLA. Switching this layer's device type to GPU fallback."
)


@pytest.mark.parametrize(
    ("lines", "eligible", "chosen"),
    [
        # TensorRT #1403
        (["[TensorRT] INFO: " + ELIGIBLE + "Conv_0", "[TensorRT] INFO: " + PICKED], ["Conv_0"], []),
        # NVIDIA's developer guide 8.x
        (
            [
                "[03/23/2021-00:14:05] [I] [TRT] " + ELIGIBLE + "conv1, conv2, conv3",
                "[03/23/2021-00:14:05] [I] [TRT] " + PICKED + "conv2, conv3",
            ],
            ["conv1", "conv2", "conv3"],
            ["conv2", "conv3"],
        ),
    ],
)
def test_sparsity_lines_of_tensorrt_8(lines: list[str], eligible: list[str], chosen: list[str]) -> None:
    found = findings.read(lines)["sparsity"]
    assert (found["eligible_layers"], found["chosen_layers"]) == (eligible, chosen)
    assert (found["eligible"], found["chosen"]) == (len(eligible), len(chosen))


def test_every_recorded_builder_line_is_understood() -> None:
    """The file has a pair of lines from each of four sources, in both wordings."""
    lines = (Path(__file__).parents[3] / "probes" / "trt_sparsity_log_lines.txt").read_text().splitlines()
    found = [findings.read(lines[at : at + 2])["sparsity"] for at in range(0, 8, 2)]
    assert [(pair["eligible"], pair["chosen"]) for pair in found] == [(1, 0), (0, 0), (3, 2), (39, 0)]
    assert all(findings.of_interest(line) for line in lines)


def test_sparsity_lines_of_tensorrt_10_last_pass_counts() -> None:
    counts = ((12, 5), (39, 0))
    lines = [
        line
        for eligible, chosen in counts
        for line in (
            f"(Sparsity) Found {eligible} layer(s) eligible to use sparse tactics",
            f"(Sparsity) Chose {chosen} layer(s) using sparse tactics",
        )
    ]
    found = findings.read(lines)["sparsity"]
    assert (found["eligible"], found["chosen"]) == (39, 0)


def test_other_findings() -> None:
    found = findings.read([SKIPPED, INT64, FALLBACK])
    assert (
        found["skipped_tactics"],
        found["skipped_for_memory"],
        found["int64_casts"],
        found["dla_fallback"],
    ) == (1, 1, 1, 1)
    assert found["sparsity"] is None


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        # NVIDIA-AI-IOT/jetson_dla_tutorial #3; DeepStream-Yolo #27; TensorRT #2318; tensorflow-onnx #1632
        ("Layer '/a/Constant' (CONSTANT): Unsupported on DLA. Switching this layer's device type to GPU.", 1),
        ("DLA supports only 8 subgraphs per DLA core. Switching to GPU for layer conv_6", 1),
        ("Default DLA is enabled but layer LSTM is not supported on DLA, falling back to GPU.", 1),
        ("DLA only supports FP16 and Int8 precision type. Switching x [Gather] device type to GPU.", 1),
        ("Switching to another tactic", 0),
    ],
)
def test_every_wording_of_a_fallback_is_counted(line: str, counted: int) -> None:
    assert findings.read([line])["dla_fallback"] == counted
    assert findings.of_interest(line) == bool(counted)
