"""Networks for video, audio and text in images as papers have them, small: for :mod:`studies.coverage`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3(inward: int, outward: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """3 x 3 x 3, without bias, BatchNorm, activation."""
    padded = nn.Conv3d(inward, outward, 3, (1, stride, stride), 1, groups=groups, bias=False)
    return nn.Sequential(padded, nn.BatchNorm3d(outward), nn.ReLU())


class C3d(nn.Module):
    """Tran et al., 2015."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(conv3(3, width, 2), nn.MaxPool3d(2), conv3(width, 2 * width))
        self.fc = nn.Linear(2 * width, 7)

    def forward(self, x: Tensor) -> Any:
        """Clips ``[n, 3, frames, h, w]``."""
        return self.fc(self.body(x).mean((2, 3, 4)))


class X3d(nn.Module):
    """Depthwise 3 x 3 x 3 between pointwise ones, squeeze and excitation (Feichtenhofer, 2020)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, width, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
                                  nn.Conv3d(width, width, (5, 1, 1), padding=(2, 0, 0), groups=width, bias=False),
                                  nn.BatchNorm3d(width), nn.ReLU())  # fmt: skip
        wide = 2 * width
        self.wide, self.depth = nn.Conv3d(width, wide, 1, bias=False), conv3(wide, wide, 1, wide)
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Conv3d(wide, 8, 1), nn.ReLU(), nn.Conv3d(8, wide, 1), nn.Sigmoid()
        )
        self.back, self.norm, self.fc = (
            nn.Conv3d(wide, width, 1, bias=False),
            nn.BatchNorm3d(width),
            nn.Linear(width, 7),
        )

    def forward(self, x: Tensor) -> Any:
        """Clips ``[n, 3, frames, h, w]``."""
        x = self.stem(x)
        wide = self.depth(self.wide(x))
        x = x + self.norm(self.back(F.hardswish(wide * self.excite(wide))))
        return self.fc(x.mean((2, 3, 4)))


class SlowFast(nn.Module):
    """Two frame rates with lateral connections (Feichtenhofer et al., 2019)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.slow, self.fast = conv3(3, 2 * width, 2), conv3(3, width // 2, 2)
        self.lateral = nn.Conv3d(width // 2, width, (5, 1, 1), (4, 1, 1), (2, 0, 0))
        self.after, self.fc = conv3(3 * width, 2 * width), nn.Linear(2 * width + width // 2, 7)

    def forward(self, x: Tensor) -> Any:
        """Clips ``[n, 3, 8, h, w]``."""
        slow, fast = self.slow(x[:, :, ::4]), self.fast(x)
        slow = self.after(torch.cat([slow, self.lateral(fast)], 1))
        return self.fc(torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1))


class Shift(nn.Module):
    """Channels shifted in time before 2D convolutions (Lin et al., 2019)."""

    def __init__(self, width: int = 32, frames: int = 8) -> None:
        super().__init__()
        self.frames = frames
        self.first, self.second = nn.Conv2d(3, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.fc = nn.Linear(2 * width, 7)

    def forward(self, x: Tensor) -> Any:
        """Frames ``[n, frames, 3, h, w]``."""
        x = F.relu(self.first(x.flatten(0, 1)))
        x = x.unflatten(0, (-1, self.frames))
        fold = x.shape[2] // 8
        left, right, rest = x.split([fold, fold, x.shape[2] - 2 * fold], 2)
        left, right = (
            F.pad(left[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1)),
            F.pad(right[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0)),
        )
        x = F.relu(self.second(torch.cat([left, right, rest], 2).flatten(0, 1)))
        return self.fc(x.mean((2, 3)).unflatten(0, (-1, self.frames)).mean(1))


class ConvLstm(nn.Module):
    """Frames one after another through a convolutional LSTM (Shi et al., 2015)."""

    def __init__(self, width: int = 16, frames: int = 4) -> None:
        super().__init__()
        self.width, self.frames = width, frames
        self.first, self.gates = nn.Conv2d(3, width, 3, 2, 1), nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Any:
        """Frames ``[n, frames, 3, h, w]``."""
        hidden = cell = self.first(x[:, 0]) * 0
        for number in range(self.frames):
            found = self.gates(torch.cat([self.first(x[:, number]), hidden], 1))
            i, f, o, g = found.chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
        return self.out(hidden)


class M5(nn.Module):
    """Raw sound, large first filters (Dai et al., 2017)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, width, 80, 16), nn.BatchNorm1d(width), nn.ReLU(), nn.MaxPool1d(4),
                                  nn.Conv1d(width, 2 * width, 3), nn.BatchNorm1d(2 * width), nn.ReLU())  # fmt: skip
        self.fc = nn.Linear(2 * width, 7)

    def forward(self, x: Tensor) -> Any:
        """Sound ``[n, 1, samples]``."""
        return self.fc(self.body(x).mean(-1)).log_softmax(-1)


class KeywordSpotter(nn.Module):
    """Depthwise separable convolutions over a spectrogram (Zhang et al., 2017)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, (10, 4), 2, (5, 1)), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU()]
        self.body, self.fc = nn.Sequential(*layers), nn.Linear(width, 12)

    def forward(self, x: Tensor) -> Any:
        """Spectrogram ``[n, 1, time, bands]``."""
        return self.fc(self.body(x).mean((2, 3)))


class SoundGru(nn.Module):
    """Convolutions, then a GRU in both directions, scores for every moment (Cakir et al., 2017)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d((1, 4))
        )
        self.gru, self.fc = nn.GRU(8 * width, 32, batch_first=True, bidirectional=True), nn.Linear(64, 7)

    def forward(self, x: Tensor) -> Any:
        """Spectrogram ``[n, 1, time, 32]``."""
        x = self.body(x).permute(0, 2, 1, 3).flatten(2)
        return self.fc(self.gru(x)[0]).sigmoid()


class Tcn(nn.Module):
    """Causal dilated convolutions with residuals (Bai et al., 2018)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(16, width, 1), nn.Conv1d(width, 7, 1)
        self.body = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=2**k) for k in range(3))

    def forward(self, x: Tensor) -> Any:
        """``[n, 16, time]``."""
        x = self.first(x)
        for number, layer in enumerate(self.body):
            x = x + F.relu(layer(F.pad(x, (2 * 2**number, 0))))
        return self.last(x)


class TasNet(nn.Module):
    """Sound taken apart by masks over a learnt basis (Luo and Mesgarani, 2019)."""

    def __init__(self, basis: int = 64, width: int = 32) -> None:
        super().__init__()
        self.into, self.out = (
            nn.Conv1d(1, basis, 16, 8, bias=False),
            nn.ConvTranspose1d(basis, 1, 16, 8, bias=False),
        )
        self.norm, self.narrow = nn.GroupNorm(1, basis), nn.Conv1d(basis, width, 1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, 2 * width, 1), nn.PReLU(), nn.GroupNorm(1, 2 * width),
                          nn.Conv1d(2 * width, 2 * width, 3, padding=2**k, dilation=2**k, groups=2 * width), nn.PReLU(),
                          nn.Conv1d(2 * width, width, 1)) for k in range(2))  # fmt: skip
        self.masks = nn.Conv1d(width, 2 * basis, 1)
        self.basis = basis

    def forward(self, x: Tensor) -> Any:
        """Sound ``[n, 1, samples]`` to two voices ``[n, 2, samples]``."""
        basis = self.into(x)
        found = self.narrow(self.norm(basis))
        for block in self.body:
            found = found + block(found)
        masks = self.masks(found).view(len(x), 2, self.basis, -1).sigmoid()
        voices = (masks * basis[:, None]).flatten(0, 1)
        return self.out(voices).view(len(x), 2, -1)


class Conformer(nn.Module):
    """Attention, a gated convolution, two half feed-forwards (Gulati et al., 2020)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.into = nn.Linear(20, width)
        self.feed = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
            )
            for _ in range(2)
        )
        self.norm, self.attend = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.gate, self.depth = (
            nn.Conv1d(width, 2 * width, 1),
            nn.Conv1d(width, width, 7, padding=3, groups=width),
        )
        self.batch, self.point, self.out = (
            nn.BatchNorm1d(width),
            nn.Conv1d(width, width, 1),
            nn.Linear(width, 30),
        )

    def forward(self, x: Tensor) -> Any:
        """Spectrogram ``[n, time, 20]``."""
        x = self.into(x)
        x = x + 0.5 * self.feed[0](x)
        normed = self.norm(x)
        x = x + self.attend(normed, normed, normed, need_weights=False)[0]
        inner = F.silu(self.batch(self.depth(F.glu(self.gate(x.transpose(1, 2)), 1))))
        x = x + self.point(inner).transpose(1, 2)
        return self.out(x + 0.5 * self.feed[1](x))


class Crnn(nn.Module):
    """Columns of an image read by an LSTM in both directions (Shi et al., 2016)."""

    def __init__(self, width: int = 32, letters: int = 37) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                                  nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
                                  nn.MaxPool2d((2, 1)), nn.Conv2d(2 * width, 2 * width, (8, 1)))  # fmt: skip
        self.lstm, self.fc = (
            nn.LSTM(2 * width, 32, 2, bidirectional=True, batch_first=True),
            nn.Linear(64, letters),
        )

    def forward(self, x: Tensor) -> Any:
        """Lines of text ``[n, 1, 32, w]`` to ``[w / 2, n, letters]``."""
        x = self.body(x).squeeze(2).transpose(1, 2)
        return self.fc(self.lstm(x)[0]).transpose(0, 1).log_softmax(-1)


class DbNet(nn.Module):
    """Text found by a map and a learnt threshold (Liao et al., 2020)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.Hardswish())
            for a, b in ((3, width), (width, width), (width, 2 * width))
        )
        self.into = nn.ModuleList(nn.Conv2d(n, width, 1) for n in (width, 2 * width))

        def head() -> nn.Sequential:
            first = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
            up = nn.ConvTranspose2d(width, width, 2, 2), nn.ReLU(), nn.ConvTranspose2d(width, 1, 2, 2)
            return nn.Sequential(first, *up)

        self.likely, self.limit = head(), head()

    def forward(self, x: Tensor) -> Any:
        """Images to a map of text."""
        low = self.down[1](self.down[0](x))
        high = self.into[1](self.down[2](low))
        found = torch.cat([self.into[0](low), F.interpolate(high, scale_factor=2.0)], 1)
        likely, limit = self.likely(found).sigmoid(), self.limit(found).sigmoid()
        return 1 / (1 + torch.exp(-50 * (likely - limit)))


class Svtr(nn.Module):
    """Strips of text mixed by attention, height merged step by step (Du et al., 2022)."""

    def __init__(self, width: int = 32, letters: int = 37) -> None:
        super().__init__()
        self.patch = nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1)
        )
        self.mix = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, norm_first=True)
        self.merge, self.fc = nn.Conv2d(width, 2 * width, 3, (2, 1), 1), nn.Linear(2 * width, letters)

    def forward(self, x: Tensor) -> Any:
        """Lines of text ``[n, 1, 32, w]`` to ``[n, w / 4, letters]``."""
        x = self.patch(x)
        _, c, h, w = x.shape
        x = self.mix(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(-1, c, h, w)
        return self.fc(self.merge(x).mean(2).transpose(1, 2))


class Glimpse(nn.Module):
    """Letters read one by one by attention over the image's columns (Lee and Osindero, 2016)."""

    def __init__(self, width: int = 32, letters: int = 37, length: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, (2, 2), 1), nn.ReLU(), nn.Conv2d(width, width, 3, (2, 2), 1), nn.ReLU()
        )
        self.cell, self.query, self.fc = nn.GRUCell(width, 48), nn.Linear(48, width), nn.Linear(48, letters)
        self.length = length

    def forward(self, x: Tensor) -> Any:
        """Lines of text ``[n, 1, 32, w]`` to ``[n, length, letters]``."""
        columns = self.body(x).mean(2).transpose(1, 2)
        state, found = columns.new_zeros(len(x), 48), []
        for _ in range(self.length):
            weights = (columns @ self.query(state)[..., None]).softmax(1)
            state = self.cell((weights * columns).sum(1), state)
            found.append(self.fc(state))
        return torch.stack(found, 1)
