"""The latency of an engine as the report shows it.

Percentiles and outliers are the runner's own (``deploy/runner/measure/latencies.py``): both print the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jetpress.benchmarks.report.record.networks import Latency
from jetpress.deploy.runner.measure import latencies as runner


def summary(samples_ms: Sequence[float], batch: int) -> Latency:
    """What a series of latencies in ms comes to; ``batch`` samples were computed in each run.

    A percentile is there only if there are enough samples for it.
    """
    if not samples_ms:
        raise ValueError("no samples")
    mean, shown = math.fsum(samples_ms) / len(samples_ms), runner.percentiles(samples_ms)
    return Latency(
        n=len(samples_ms),
        mean=mean,
        min=min(samples_ms),
        max=max(samples_ms),
        p50=shown.get("p50"),
        p90=shown.get("p90"),
        p95=shown.get("p95"),
        p99=shown.get("p99"),
        p999=shown.get("p99.9"),
        cov=100 * runner.cov(samples_ms),
        outliers=len(runner.outliers(samples_ms)),
        fps=1000 * batch / mean,
    )
