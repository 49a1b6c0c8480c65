"""Which target a device is: asked for by name, by ``board``, and where no record knows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jetpress.deploy.device import probe
from jetpress.deploy.device.probe import Facts
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.cli.several import Pair, _target
from jetpress.pipeline.flow.devices import target_of, where
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve

PROBES = Path(__file__).parents[2] / "probes"


def there(monkeypatch: pytest.MonkeyPatch, name: str, **other: object) -> Facts:
    """A recorded board in the place of every device."""
    facts = probe.read("nv@box", json.loads((PROBES / f"survey_{name}.json").read_text()))
    facts = replace(facts, **other)  # type: ignore[arg-type]
    monkeypatch.setattr(probe, "probe", lambda device: facts)
    return facts


def test_a_tensorrt_that_no_record_knows_is_derived_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = there(monkeypatch, "orin-nx", tensorrt="10.7.0.23")
    for asked in ("orin-nx", TARGETS["orin-nx"]):
        found = target_of(asked, "nv@box")
        assert (found.derived, found.tensorrt, found.module) == (True, "10.7.0", "Orin NX")
        probe.refuse_unless(facts, found)
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "nv@box has TensorRT 10.7.0.23, which no record knows (orin-nx has 10.3.0)" in said
    assert target_of("orin-nx", None) is TARGETS["orin-nx"]  # no device: a bundle for what was asked


@pytest.mark.parametrize(("asked", "board", "other"), [
    ("orin-nx", "orin-nx", {}),
    ("orin-nx", "orin-nx", {"tensorrt": "8.5.2.2"}),  # another record's
    ("orin-nano", "orin-nx", {"tensorrt": "10.7.0.23"}),  # another module
    ("agx-orin", "orin-nx", {"tensorrt": "10.7.0.23"}),
    ("orin-nx", "orin-nx", {"tensorrt": "10.7.0.23", "ram_total_mb": 7600}),  # a smaller one
    ("orin-nx-super", "orin-nx", {"tensorrt": "10.7.0.23", "power_mode": "10W"}),
    ("orin-nx", "orin-nx", {"tensorrt": "7.1.3"}),  # older than any that is known
    ("orin-nx", "orin-nx", {"tensorrt": ""}),
])  # fmt: skip
def test_what_was_asked_for_by_name_stays_and_is_refused_as_another_board(
    asked: str,
    board: str,
    other: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = there(monkeypatch, board, **other)
    found = target_of(asked, "nv@box")
    assert found is TARGETS[asked]
    assert capsys.readouterr().err == ""
    if other:
        with pytest.raises(DeviceError):
            probe.refuse_unless(facts, found)


def test_of_several_targets_a_device_that_does_not_answer_waits_for_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(device: object) -> Facts:
        raise DeviceError("nv@box does not answer", "switch it on")

    monkeypatch.setattr(probe, "probe", silent)
    found = [_target(Pair("orin-nx", "nv@box")), _target(Pair("xavier"))]
    assert isinstance(found[0], DeviceError)
    assert found[1] is TARGETS["xavier"]


def test_power_modes_that_the_board_does_not_have_are_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there(monkeypatch, "orin-nx", power_modes={0: "15W"})
    for modes in ("all", "0", "25W"):
        recipe = Recipe.parse({"name": "r", "benchmark": {"power_modes": modes}})
        plan = resolve(recipe, TARGETS["orin-nx"])
        if modes != "25W":
            assert where(plan, "nv@box") is not None
            continue
        with pytest.raises(DeviceError, match="has no power mode '25W'"):
            where(plan, "nv@box")
