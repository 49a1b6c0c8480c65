"""The run's folder: what a person looks at. Facts of all artifacts become the report; bundle and engine beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from jetpress.benchmarks.report.record import RunReport, read
from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.flow import reporting
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.recipe.reading import Plan
from jetpress.pipeline.recipe.sections import as_table
from jetpress.pipeline.store.artifact import Artifact, canonical
from jetpress.pipeline.store.steps import Doing
from jetpress.pipeline.store.store import versions, write_atomically


def home() -> Path:
    """Folder of all runs."""
    return Path(os.environ.get("JETPRESS_RUNS", "runs"))


def folder(plan: Plan, root: Path | None) -> Path:
    """The folder of a plan's run: the same recipe and target always give the same one."""
    digest = hashlib.sha256(canonical([as_table(plan.recipe), plan.target.name]).encode()).hexdigest()[:8]
    return (root or home()) / f"{plan.recipe.name}-{plan.target.name}-{digest}"


def find_run(name: str) -> Path:
    """The folder of a finished run.

    Raises:
        RecipeError: there is none; the runs that exist are listed.
    """
    for candidate in (Path(name), home() / name):
        if (candidate / "report.json").is_file():
            return candidate
    known = sorted(p.parent.name for p in home().glob("*/report.json"))
    raise RecipeError(f"there is no finished run {name!r}", f"runs: {', '.join(known) or 'none yet'}")


def needed(root: Path) -> set[str]:
    """Digests of all artifacts that a run in ``root`` refers to."""
    reports = (json.loads(path.read_text()) for path in root.glob("*/report.json"))
    return {step["digest"] for report in reports for step in report["stages"] if step["digest"]}


def write(outcome: Outcome, place: Path, doing: Doing) -> RunReport:
    """Put report, bundle and engine into the run's folder; say the verdict."""
    told = [[step.name, step.digest, step.why] for step in doing.steps]
    parts = [place.name, outcome.device.invalid, told, versions(reporting.LIBRARIES)]
    digest = hashlib.sha256(canonical(parts).encode()).hexdigest()
    place.mkdir(parents=True, exist_ok=True)
    report = _known(place / "report.json")
    if report and report.digest == digest and (place / "report.html").is_file():
        console.say(f"  {'report':<14} {'cached':<12}")
    else:
        from jetpress.benchmarks.report.render import render

        report = render(reporting.report(outcome, place, doing.steps, digest), place)
        write_atomically(place / "recipe.toml", outcome.plan.recipe.to_toml())
        console.say(f"  {'report':<14} {'ran':<12}")
    for name, artifact in (("bundle", outcome.bundle), ("engine", outcome.device.engine)):
        if artifact is not None:
            _copy(artifact, place / name)
    _say_verdict(report, place)
    return report


def _known(path: Path) -> RunReport | None:
    try:
        return read(path)
    except (OSError, RecipeError):
        return None


def _copy(artifact: Artifact, place: Path) -> None:
    """A copy that the user may move or change; the store keeps the original."""
    mark = place / "artifact.json"
    if mark.is_file() and mark.read_bytes() == (artifact.path / "artifact.json").read_bytes():
        return
    draft = place.with_name(f".{place.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(artifact.path, draft)
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)


def _say_verdict(report: RunReport, place: Path) -> None:
    for check in report.verdict.checks:
        found = "not measured yet" if check.found is None else f"{check.found:.2f} {check.unit}"
        console.say(f"  {check.what}: {found} (budget {check.limit:g} {check.unit})")
    if report.ratios.latency and (ratio := report.ratios.latency.interval):
        bounds = f"95 % interval {ratio.low:.2f} to {ratio.high:.2f}"
        console.say(f"  {ratio.value:.2f} times as fast as dense ({bounds})")
    console.say(f"  report: {place / 'report.html'}")
    if report.engine_built:
        console.say(f"  engine: {place / 'engine'}")
    else:
        console.say(f"  bundle: {place / 'bundle'} (no engine was built: that happens on the device)")
    met = {True: "budget met", False: "budget NOT met", None: "budget not measured in full"}
    console.say(met[report.verdict.met])
    if report.next:
        console.say(f"next: {report.next}")
