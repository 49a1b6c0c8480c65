"""Statistics of BatchNorm after a cut: other numbers, the same function, also with statistics of the batch."""

from __future__ import annotations

import copy

import torch
from torch import nn

from jetpress.pipeline.pruning.norms import settle
from jetpress.pipeline.sparse.walking import traced
from tests.pipeline.pruning.test_reconstruct import far, images, network


def test_training_sees_the_function_that_was_fitted() -> None:
    module, x = network(), images()
    with torch.no_grad():
        module.get_buffer("norm.running_mean").add_(0.3)
        module.get_buffer("norm.running_var").mul_(2.0)
        module.get_buffer("last.running_mean").sub_(0.2)
    settled = copy.deepcopy(module)
    batches = [(x[:32],), (x[32:],)]
    settle(traced(settled, batches), batches)
    assert far(module, settled, x) < 1e-9
    assert far(module, copy.deepcopy(module).train(), x) > 1e-3
    assert far(module, settled.train(), x) < 1e-9


def test_a_norm_that_runs_twice_or_has_no_scale_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.bare = nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.add(self.norm(torch.relu(self.norm(x))), self.bare(x))

    module = Twice().eval()
    before = copy.deepcopy(module.state_dict())
    settle(traced(module, [(images(8),)]), [(images(8),)])
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
