"""What is needed, from the metadata of packages that are made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.deploy import requirements
from jetpress.deploy.requirements import Finding, findings

OURS = """
Requires-Dist: made-up-torch<3,>=2.10
Requires-Dist: made-up-absent>=1
Requires-Dist: made-up-here
Requires-Dist: made-up-elsewhere>=1; sys_platform == 'nowhere'
Provides-Extra: fast
Requires-Dist: made-up-old>=2; extra == 'fast'
Requires-Dist: made-up-missing>=2; extra == 'fast'
Requires-Dist: made-up-board>=2; sys_platform == 'nowhere' and extra == 'fast'
"""


def install(folder: Path, name: str, version: str, rest: str = "") -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{rest.strip()}\n"
    )


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    for name, version in (("made-up-torch", "2.9.1+cpu"), ("made-up-here", "0.1"), ("made-up-old", "1.0")):
        install(tmp_path, name, version)
    install(tmp_path, "made-up", "1.0", OURS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(requirements, "WHY", {"made-up-torch": "an older one runs code"})
    return {one["what"]: one for one in findings("made-up")}


def test_what_another_machine_needs_is_not_asked_for(found: dict[str, Finding]) -> None:
    assert list(found) == [f"made-up-{name}" for name in ("torch", "absent", "here", "old", "missing")]


def test_one_that_is_too_old_is_named_with_its_range_and_the_remedy(found: dict[str, Finding]) -> None:
    assert found["made-up-torch"] == {
        "what": "made-up-torch",
        "found": "2.9.1+cpu",
        "needed": "<3,>=2.10",
        "ok": False,
        "hint": "pip install 'made-up-torch<3,>=2.10' (an older one runs code)",
    }


def test_one_that_is_missing_or_any_version(found: dict[str, Finding]) -> None:
    assert (found["made-up-absent"]["found"], found["made-up-absent"]["ok"]) == ("missing", False)
    assert found["made-up-absent"]["hint"] == "pip install 'made-up-absent>=1'"
    assert (found["made-up-here"]["found"], found["made-up-here"]["ok"]) == ("0.1", True)


def test_extras_are_never_in_the_way(found: dict[str, Finding]) -> None:
    assert found["made-up-old"]["found"] == "1.0 (optional: pip install 'made-up[fast]')"
    assert found["made-up-missing"]["found"] == "not installed (optional: pip install 'made-up[fast]')"
    assert found["made-up-old"]["ok"]
    assert found["made-up-missing"]["ok"]


def test_a_local_version_is_within_its_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "made-up-torch", "2.10.0+cu130")
    install(tmp_path, "made-up", "1.0", OURS)
    monkeypatch.syspath_prepend(tmp_path)
    assert findings("made-up")[0]["ok"]


def test_the_runtime_for_cpus_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "made-up-cpu", "1.5")
    install(tmp_path, "made-up", "1.0", "Requires-Dist: made-up-gpu>=1,<2")
    monkeypatch.syspath_prepend(tmp_path)
    assert not findings("made-up")[0]["ok"]
    monkeypatch.setattr(requirements, "STANDS_IN", {"made-up-gpu": "made-up-cpu"})
    assert findings("made-up")[0]["found"] == "1.5"
    assert findings("made-up")[0]["ok"]


def test_without_metadata_there_is_a_remedy() -> None:
    (only,) = findings("made-up-nowhere")
    assert not only["ok"]
    assert "pip install made-up-nowhere" in only["hint"]


def test_all_that_jetpress_asks_for_is_looked_at() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    looked_at = {one["what"] for one in findings()}
    asked = [text for text in project["dependencies"] if ";" not in text]
    installed = {text.split(">")[0] for text in asked} - {"packaging"}  # newer than some installed metadata
    assert installed <= looked_at
    assert {"timm", "tensorrt"} <= looked_at
