"""The run's folder: what a person looks at. Facts of all artifacts become the report; bundle and engine beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from jetpress.benchmarks.report.record import RunReport, read
from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.flow import reporting
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.store.artifact import canonical
from jetpress.pipeline.store.fingerprint import fingerprint, versions
from jetpress.pipeline.store.publish import clear, publish
from jetpress.pipeline.store.runs import home
from jetpress.pipeline.store.steps import Doing, Step
from jetpress.pipeline.store.store import write_atomically


def find_run(name: str) -> Path:
    """The folder of a finished run.

    Raises:
        RecipeError: there is none (the runs that exist are listed), or its report is damaged.
    """
    for candidate in (Path(name), home() / name):
        if (candidate / "report.json").is_file():
            read(candidate / "report.json")
            return candidate
    known = sorted(p.parent.name for p in home().glob("*/report.json"))
    raise RecipeError(f"there is no finished run {name!r}", f"runs: {', '.join(known) or 'none yet'}")


def write(outcome: Outcome, place: Path, doing: Doing) -> RunReport:
    """Put report, bundle and engine into the run's folder; say the verdict."""
    place.mkdir(parents=True, exist_ok=True)
    with doing.store.locked(place.name, "another process writes this run's folder"):
        clear(place)
        report = _written(outcome, place, doing)
        for name, artifact in (("bundle", outcome.bundle), ("engine", outcome.device.engine)):
            if artifact is not None:
                publish(doing.store, artifact, place / name)
    _say_verdict(report, place)
    return report


def _written(outcome: Outcome, place: Path, doing: Doing) -> RunReport:
    """The report; what it was made of decides whether the one that is there is still it."""
    told = [[step.name, step.digest, step.why] for step in doing.steps]
    code = fingerprint(_render.__module__, _render.__name__)
    parts = [place.name, told, versions(reporting.LIBRARIES), code]
    digest = hashlib.sha256(canonical(parts).encode()).hexdigest()
    report = _known(place / "report.json")
    if report and report.digest == digest and (place / "report.html").is_file():
        console.say(f"  {'report':<14} {'cached':<12}")
        return report
    networks, numbers = outcome.networks, outcome.device.numbers
    doing.store.verify(networks.dense, networks.compressed, outcome.exports.compressed)
    if numbers is not None:
        doing.store.verify(numbers)
    report = _render(outcome, place, doing.steps, digest)
    write_atomically(place / "recipe.toml", outcome.plan.recipe.to_toml())
    console.say(f"  {'report':<14} {'ran':<12}")
    return report


def _known(path: Path) -> RunReport | None:
    try:
        return read(path)
    except (OSError, RecipeError):
        return None


def _render(outcome: Outcome, place: Path, steps: Sequence[Step], digest: str) -> RunReport:
    from jetpress.benchmarks.report.render import render

    return render(reporting.report(outcome, place, steps, digest), place)


def _say_verdict(report: RunReport, place: Path) -> None:
    for check in report.verdict.checks:
        found = "not measured yet" if check.found is None else f"{check.found:.2f} {check.unit}"
        console.say(f"  {check.what}: {found} (budget {check.limit:g} {check.unit})")
    if report.ratios.latency and (ratio := report.ratios.latency.interval):
        bounds = f"{report.ratios.latency.covers} {ratio.low:.2f} to {ratio.high:.2f}"
        known = "" if report.ratios.latency.state == "known" else ": not known well enough to claim it"
        console.say(f"  {ratio.value:.2f} times as fast as dense ({bounds}){known}")
    for why in report.benchmark.unanswered if report.benchmark else ():
        console.say(f"  not answered: {why}")
    console.say(f"  report: {place / 'report.html'}")
    if report.engine_built:
        console.say(f"  engine: {place / 'engine'}")
    else:
        console.say(f"  bundle: {place / 'bundle'} (no engine was built: that happens on the device)")
    met = {True: "budget met", False: "budget NOT met", None: "budget not measured in full"}
    console.say(met[report.verdict.met])
    if report.next:
        console.say(f"next: {report.next}")
