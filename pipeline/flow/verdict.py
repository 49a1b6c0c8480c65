"""What a run came to: the budget's limits against what was found, and whether there is anything to be glad of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jetpress.benchmarks import accuracy, ratio
from jetpress.benchmarks.report.record.networks import (
    Benchmark,
    Estimate,
    Latency,
    Limit,
    NetworkReport,
    Power,
    Ratio,
    Standing,
    Verdict,
)
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.flow.rounds import Round
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.recipe.sections.device import BudgetConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import AssessmentFacts, Change
from jetpress.pipeline.store.facts.onnx_file import Answers, CutFile


def verdict(
    outcome: Outcome, compressed: NetworkReport, faster: Ratio | None, judged: Benchmark | None
) -> Verdict:
    """Each limit of the budget against what was found (None where it could not be measured), and the standing.

    Args:
        outcome: of the walk.
        compressed: the network that is shipped.
        faster: dense latency over compressed; None where it was not measured.
        judged: the benchmark; None where nothing was measured.
    """
    budget = outcome.plan.recipe.budget
    if outcome.accuracy is None or outcome.networks is None:
        cut = outcome.exports.compressed.facts.cut
        answers = answer_limits(budget, cut.answers) if cut else ()
        checks = (*answers, *timing_limits(budget, compressed.latency, _power(judged)))
        found = _all_met(checks)
        came, why = _standing(found, None, True, faster, judged)
        usual: Standing = "unjudged" if cut is None else "cut, unjudged"
        told_as = came if came in ("not met", "slower", "unknown") else usual
        why = why or (agreement(cut) if cut else "")
        return Verdict(met=found, checks=checks, standing=told_as, why=why or None)
    told, networks = outcome.accuracy.facts, outcome.networks
    measured = networks.dense.facts.measured
    checks = tuple(limits(budget, measured, told, compressed.latency, _power(judged)))
    found = _all_met(checks)
    standing: Standing = "at chance"
    why = at_chance(told)
    if not why:
        tried = bool(networks.rounds) or not {"prune", "sparsify"} <= set(outcome.plan.skipped)
        standing, why = _standing(found, networks.untouched, tried, faster, judged)
    return Verdict(
        met=found,
        checks=checks,
        standing=standing,
        why=why or None,
        change=_estimate(told.change),
        mean=told.mean,
        guessing=told.guessing,
        test_samples=told.test_images,
        validation_samples=told.validation_images,
    )


def answer_limits(budget: BudgetConfig, answers: Answers | None) -> Iterator[Limit]:
    """What the budget says of a pruned file's answers, where these are known."""
    if answers is not None:
        lost = answers.kept <= answers.right
        yield Limit(
            what=f"the given file's {answers.what} that are kept"
            if lost
            else f"{answers.what} that are not new",
            limit=budget.agreement,
            found=round(100 * answers.share, 2),
            unit="%",
            met=100 * answers.share >= budget.agreement,
            at_most=False,
        )


def agreement(cut: CutFile) -> str:
    """How near the answers and outputs of a pruned file still are, in words."""
    worst = min(cut.agreement, key=lambda one: one.mean_cosine)
    known = f"{cut.answers.words}; " if cut.answers else ""
    return (
        f"{known}output {worst.output!r} of the pruned file is the given file's up to a cosine of "
        f"{worst.mean_cosine:.4f} (mean; at worst {worst.cosine:.4f}) on {worst.samples} samples: agreement, "
        "not accuracy"
    )


def _all_met(checks: Sequence[Limit]) -> bool | None:
    met = [check.met for check in checks]
    return False if False in met else None if None in met else True


def _estimate(change: Change) -> Estimate | None:
    """None where nothing tells how sure it is."""
    if change.low is None or change.high is None:
        return None
    return Estimate(value=change.value, low=change.low, high=change.high)


def untouched(
    plan: Plan, dense: Checkpoint, best: Checkpoint, rounds: Sequence[Round], sparse: Sequence[Checkpoint]
) -> str | None:
    """Why what goes on is the dense network as it was; None where something was taken from it, or will be."""
    if best is not dense or plan.recipe.build.precision in EIGHT_BITS:
        return None
    reasons = [f"round {number}: {done.why}" for number, done in enumerate(rounds, 1)]
    if not rounds:
        reasons.append(plan.skipped.get("prune", "the dense network is as fast as it has to be"))
    if sparse:
        reasons.append("2:4 was not kept: more than the budget is lost")
    return "; ".join(reasons)


def limits(
    budget: BudgetConfig,
    measured: str,
    told: AssessmentFacts,
    latency: Latency | None,
    power: Power | None = None,
) -> Iterator[Limit]:
    """What the budget limits, and what was found.

    Args:
        budget: of the recipe.
        measured: what the points are called.
        told: the points of both networks.
        latency: of the compressed engine; None where it was not measured.
        power: that it drew; None where the device does not say.
    """
    drop = round(-told.change.value, 4)
    yield Limit(
        what=f"{measured} drop on the test split",
        limit=budget.accuracy_drop,
        found=drop,
        unit="points",
        met=drop <= budget.accuracy_drop,
        at_most=True,
        low=None if told.change.high is None else -told.change.high,
        high=None if told.change.low is None else -told.change.low,
    )
    yield from timing_limits(budget, latency, power)


def _power(judged: Benchmark | None) -> Power | None:
    return judged.power if judged else None


def timing_limits(
    budget: BudgetConfig, latency: Latency | None, power: Power | None = None
) -> Iterator[Limit]:
    """What the budget says of time and power alone; arguments as of :func:`limits`."""
    if budget.latency_ms is not None:
        is_open, p50 = (latency.is_open(budget.latency_ms), latency.p50) if latency else (False, None)
        yield Limit(
            what="median latency",
            limit=budget.latency_ms,
            found=p50,
            unit="ms",
            met=None if p50 is None or is_open else p50 <= budget.latency_ms,
            at_most=True,
            low=latency.low if latency else None,
            high=latency.high if latency else None,
        )
    if budget.fps is not None:
        is_open, fps = (latency.is_open_fps(budget.fps), latency.fps) if latency else (False, None)
        yield Limit(
            what="throughput",
            limit=budget.fps,
            found=fps,
            unit="samples/s",
            met=None if fps is None or is_open else fps >= budget.fps,
            at_most=False,
        )
    drawn = (
        ("power of the board", budget.watts, power.watts if power else None, "W"),
        ("energy of a sample", budget.millijoules, power.millijoules if power else None, "mJ"),
    )
    for what, limit, found, unit in drawn:
        if limit is not None:
            met = None if found is None else found <= limit
            yield Limit(what=what, limit=limit, found=found, unit=unit, met=met, at_most=True)


def at_chance(told: AssessmentFacts) -> str:
    """Why the dense network seems to know nothing; empty where it knows something."""
    dense, guessed = told.dense.test, told.guessing
    if guessed is None:
        return ""
    if not told.mean:  # a figure over the whole split, of which no share of right samples tells the interval
        return f"{dense:.2f} on {told.test_images} test images: nothing is found" if dense <= guessed else ""
    if not accuracy.at_chance(dense, told.test_images, guessed):
        return ""
    return (
        f"{dense:.2f} % of {told.test_images} test images are right, "
        f"always naming the most frequent class gives {guessed:.2f} %"
    )


def _standing(
    met: bool | None, as_it_was: str | None, tried: bool, faster: Ratio | None, judged: Benchmark | None
) -> tuple[Standing, str]:
    """The first of these that holds, and why where the numbers do not say it.

    Args:
        met: the budget.
        as_it_was: why the network is the dense one still; None: it was compressed.
        tried: whether it was to be.
        faster: dense latency over compressed.
        judged: the benchmark.
    """
    if met is False:
        return "not met", as_it_was or ""
    if as_it_was is not None:
        return "nothing compressed" if tried else "nothing to compress", as_it_was
    if judged is not None and judged.unanswered:
        return "unknown", "; ".join(judged.unanswered)
    if faster is not None and _is_slower(faster):
        return "slower", ""
    if met is None:
        return "open", ""
    return ("unmeasured", "") if faster is None else ("met", "")


def _is_slower(faster: Ratio) -> bool:
    called = faster.verdict or (ratio.verdict(faster.interval) if faster.interval else "noise")
    return faster.state == "known" and called == "slower"
