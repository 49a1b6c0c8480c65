from __future__ import annotations

import pytest

from jetpress.benchmarks.report.latency import summary


@pytest.mark.parametrize(
    ("n", "shown"),
    [(10, set()), (11, {"p50"}), (63, {"p50"}), (64, {"p50", "p90"}), (130, {"p50", "p90", "p95"}),
     (661, {"p50", "p90", "p95"}), (662, {"p50", "p90", "p95", "p99"}),
     (6636, {"p50", "p90", "p95", "p99", "p999"})],
)  # fmt: skip
def test_a_percentile_appears_with_enough_samples_and_never_before(n: int, shown: set[str]) -> None:
    found = summary([1.0 + 0.001 * i for i in range(n)], batch=1)
    assert {key for key in ("p50", "p90", "p95", "p99", "p999") if getattr(found, key) is not None} == shown


def test_the_summary_counts_outliers_and_drops_none() -> None:
    found = summary([2.0, 2.01, 1.99] * 40 + [40.0], batch=4)
    assert found.n == 121
    assert (found.min, found.max, found.outliers) == (1.99, 40.0, 1)
    assert found.mean == pytest.approx((240 + 40) / 121)
    assert found.fps == pytest.approx(4000 / ((240 + 40) / 121))
    assert found.cov is not None
    assert found.cov > 100
    with pytest.raises(ValueError, match="no samples"):
        summary([], batch=1)
