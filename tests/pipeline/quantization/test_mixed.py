"""As few layers in higher precision as the goal asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jetpress.pipeline.quantization.mixed import fewest

LOSSES = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@given(LOSSES, st.integers(0, 60))
def test_where_losses_add_up_it_is_the_least_number(losses: list[int], allowed: int) -> None:
    order = [str(i) for i in sorted(range(len(losses)), key=lambda i: -losses[i])]

    def points(without: tuple[str, ...]) -> float:
        return 100.0 - sum(loss for i, loss in enumerate(losses) if str(i) not in without)

    found = fewest(order, points, 100.0 - allowed)
    best = next(k for k in range(len(losses) + 1) if points(tuple(order[:k])) >= 100 - allowed)
    if best < len(losses):
        assert found.met
        assert len(found.without) == best
        assert found.points == points(found.without) >= 100 - allowed
    else:  # every layer would have to stay: then it is not INT8 any more
        assert not found.met


def test_outputs_must_be_near_enough_too() -> None:
    found = fewest("abcd", lambda _: 100.0, 99.0, lambda without: "c" in without)
    assert found.met
    assert found.without == ("c",)
    assert not fewest("abcd", lambda _: 100.0, 99.0, lambda _: False).met


@given(st.dictionaries(st.integers(0, 5), st.floats(0, 100), min_size=6, max_size=6), st.floats(0, 100))
def test_what_is_returned_was_judged(points: dict[int, float], least: float) -> None:
    found = fewest([str(i) for i in range(6)], lambda without: points.get(len(without), 0.0), least)
    assert (found.without, found.points) in found.tries
    assert found.met == (found.points >= least)
