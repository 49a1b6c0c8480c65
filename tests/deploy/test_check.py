from __future__ import annotations

import pytest

from jetpress.deploy import check
from jetpress.deploy.requirements import Finding

OLD = Finding(what="torch", found="2.9", needed="<3,>=2.10", ok=False, hint="pip install 'torch<3,>=2.10'")


def test_a_machine_with_an_old_torch_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "findings", lambda: [OLD])
    report = check.check()
    assert not report["ready"]
    assert [one["what"] for one in report["findings"]] == ["python", "torch", "cpu", "gpu", "free disk"]
    lines = check.lines(report)
    assert "NO  torch                  2.9 (needed: <3,>=2.10)" in lines
    assert (
        lines[lines.index("NO  torch                  2.9 (needed: <3,>=2.10)") + 1]
        == f"    hint: {OLD['hint']}"
    )


def test_this_machine_is_ready() -> None:
    report = check.check()
    assert report["ready"], check.lines(report)
    assert all(line.startswith("ok ") for line in check.lines(report))
