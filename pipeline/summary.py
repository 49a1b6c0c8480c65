"""The run's folder: what a person looks at. Facts of all artifacts become the report; bundle and engine beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from jetpress.benchmarks.report.record import RunReport, read
from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.flow import reporting
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.store.artifact import Artifact, canonical
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
    near = did_you_mean(name, known)
    raise RecipeError(
        f"there is no finished run {name!r}", f"{near} Runs: {', '.join(known) or 'none yet'}".strip()
    )


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
    networks = outcome.networks
    whole: list[Artifact[object] | None] = [
        outcome.exports.compressed,
        outcome.accuracy,
        outcome.device.numbers,
    ]
    whole += [networks.dense, networks.compressed] if networks else []
    doing.store.verify(*(one for one in whole if one is not None))
    with console.progress("report"):
        report = _render(outcome, place, doing.steps, digest)
    if networks is not None:
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
    """The numbers behind the verdict, where everything is, and last the one sentence."""
    headline = report.headline
    for line in headline.lines if headline else ():
        if not line.startswith("Next: "):
            console.say(f"  {line}")
    console.say(f"  report: {place / 'report.html'}")
    if report.engine_built:
        console.say(f"  engine: {place / 'engine'}")
    else:
        console.say(f"  bundle: {place / 'bundle'} (no engine was built: that happens on the device)")
    if headline:
        console.conclude(headline.title)
    if report.next:
        console.say(f"next: {report.next}")
