"""What is fitted on, in batches."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from jetpress.pipeline.pruning.apply import BATCH, even_batches
from jetpress.pipeline.pruning.reconstruct import HELD


@given(st.integers(1, 3000))
def test_batches_are_of_one_size_and_hardly_an_image_is_left_out(count: int) -> None:
    images = torch.arange(count)
    batches = even_batches((images, -images))
    sizes = {len(x) for batch in batches for x in batch}
    assert len(sizes) == 1
    assert sizes <= set(range(1, BATCH + 1))
    assert len(batches) >= min(max(count // 2, 1), HELD)
    shown = torch.cat([first for first, _ in batches])
    assert torch.equal(shown, images[: len(shown)])
    assert torch.equal(torch.cat([second for _, second in batches]), -shown)
    assert count - len(shown) <= count / 25
