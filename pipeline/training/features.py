"""Feature maps by the names of weights: what the operator that uses a weight gives.

Watched is torch itself and no module: a pruned network that goes on as its graph has no modules, but its weights
have the names that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jetpress.deploy.errors import RecipeError

Pairs = dict[str, str]
"""A weight of the student -> the weight of the teacher whose feature map it learns."""


class Watch(TorchFunctionMode):
    """While it is entered, keeps the first result of every operator that is given one of ``weights``."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.names = {id(weight): name for name, weight in weights.items()}
        self.maps: dict[str, Tensor] = {}

    def __torch_function__(
        self,
        function: Callable[..., object],
        kinds: Sequence[type],
        arguments: tuple[object, ...] = (),
        rest: Mapping[str, object] | None = None,
    ) -> object:
        result = function(*arguments, **(rest or {}))
        if isinstance(result, Tensor):
            for given in (*arguments, *(rest or {}).values()):
                name = self.names.get(id(given))
                if name is not None and result.is_floating_point() and result.ndim in (2, 3, 4):
                    self.maps.setdefault(name, result)
        return result


def as_map(features: Tensor) -> Tensor:
    """``[n, c, h, w]`` as it is, tokens ``[n, t, c]`` as ``[n, c, t, 1]``, vectors ``[n, c]`` as ``[n, c, 1, 1]``."""
    if features.ndim == 3:
        features = features.transpose(1, 2)
    return features.reshape(*features.shape, *(1,) * (4 - features.ndim))


def maps_of(
    module: nn.Module, names: Sequence[str], inputs: tuple[Tensor, ...]
) -> tuple[object, list[Tensor]]:
    """What ``module`` returns, and the feature maps of these weights ``[n, c, h, w]``, in their order."""
    with Watch({name: module.get_parameter(name) for name in names}) as watch:
        result = module(*inputs)
    return result, [as_map(watch.maps[name]) for name in names]


def shapes(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """Weight -> shape ``(c, h, w)`` of its feature map, in the order of computation."""
    mode = module.training
    module.eval()
    weights = {name: p for name, p in module.named_parameters() if p.ndim > 1}
    with torch.no_grad(), Watch(weights) as watch:
        module(*inputs)
    module.train(mode)
    return {name: tuple(as_map(found).shape[1:]) for name, found in watch.maps.items()}


def pairs(
    student: Mapping[str, tuple[int, ...]], teacher: Mapping[str, tuple[int, ...]], patterns: Sequence[str]
) -> Pairs:
    """Which feature maps are compared, from the :func:`shapes` of both networks.

    With ``patterns``: weights of the student that match and that the teacher has too. Without: the student's last
    one at each resolution that both have, with its namesake, or the teacher's last one at that resolution.

    Raises:
        RecipeError: there are none, or a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in student if name in teacher):
            raise RecipeError(
                f"finetune.layers: {pattern!r} matches no weight that student and teacher both have",
                f"weights are named as in {', '.join(list(student)[-3:])}",
            )
    if patterns:
        chosen = [name for name in student if any(fnmatch(name, pattern) for pattern in patterns)]
        found = {name: name for name in chosen if teacher.get(name, ())[1:] == student[name][1:]}
    else:
        ours, theirs = ({shape[1:]: name for name, shape in of.items()} for of in (student, teacher))
        places = [place for place in ours if place in theirs and place != (1, 1)]
        found = {ours[p]: ours[p] if teacher.get(ours[p], ())[1:] == p else theirs[p] for p in places}
    if not found:
        raise RecipeError(
            "student and teacher have no feature maps of the same size",
            "set finetune.hint, attention and similarity to 0: their outputs alone can be compared",
        )
    return found


class Student(nn.Module):
    """A network that shows its feature maps, and 1x1 convolutions that bring them to the teacher's channels.

    Args:
        module: the network.
        channels: weight -> channels of the student's and of the teacher's feature map.
        seed: of the convolutions.
    """

    def __init__(self, module: nn.Module, channels: Mapping[str, tuple[int, int]], seed: int) -> None:
        super().__init__()
        self.module, self.names = module, tuple(channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.adapters = nn.ModuleList(
                nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, 1, bias=False)
                for ours, theirs in channels.values()
            )

    def forward(self, *inputs: Tensor) -> tuple[object, list[Tensor], list[Tensor]]:
        """What the network returns, its feature maps, and these at the teacher's width."""
        result, maps = maps_of(self.module, self.names, inputs)
        return result, maps, [adapt(one) for adapt, one in zip(self.adapters, maps, strict=True)]
