"""StyleGAN2's synthesis network in plain torch (arXiv 1912.04958).

Grouped modulated convolutions, depthwise FIR filters.
"""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F


def fir(x: torch.Tensor, pad: tuple[int, int], gain: float = 1.0) -> torch.Tensor:
    """[1, 3, 3, 1] along both axes as a depthwise convolution."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = (torch.outer(taps, taps) / 64 * gain).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=x.shape[1])


class ModulatedConv(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, size: int, up: bool = False, demodulate: bool = True
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.modulation = nn.Linear(512, inputs)
        self.up, self.demodulate, self.size = up, demodulate, size

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        b, c, h, width = x.shape
        style = self.modulation(w / math.sqrt(512)) + 1
        weight = self.weight / math.sqrt(c * self.size**2) * style[:, None, :, None, None]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        x = x.reshape(1, b * c, h, width)
        if self.up:
            weight = weight.transpose(1, 2).reshape(b * c, -1, self.size, self.size)
            x = F.conv_transpose2d(x, weight, stride=2, groups=b)
            return fir(x.reshape(b, -1, *x.shape[2:]), (1, 1), 4.0)
        x = F.conv2d(
            x, weight.reshape(-1, c, self.size, self.size), padding=self.size // 2, groups=b
        )
        return x.reshape(b, -1, *x.shape[2:])


class StyledConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, side: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, up)
        self.strength, self.bias = (
            nn.Parameter(torch.zeros(1)),
            nn.Parameter(torch.zeros(outputs, 1, 1)),
        )
        self.register_buffer("noise", torch.randn(1, 1, side, side))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = self.conv(x, w) + self.strength * self.noise + self.bias
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


class ToRGB(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.conv, self.bias = (
            ModulatedConv(inputs, 3, 1, demodulate=False),
            nn.Parameter(torch.zeros(3, 1, 1)),
        )

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, skip: torch.Tensor | None = None
    ) -> torch.Tensor:
        rgb = self.conv(x, w) + self.bias
        if skip is None:
            return rgb
        stuffed = skip.new_zeros(*skip.shape[:2], skip.shape[2], 2, skip.shape[3], 2)
        stuffed[:, :, :, 0, :, 0] = skip
        return rgb + fir(stuffed.reshape(*rgb.shape), (2, 1), 4.0)


class Synthesis(nn.Module):
    """W+ [b, 2 * levels, 512] -> picture; `features` keeps what a fusing decoder needs."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.first, self.first_rgb = StyledConv(widths[0], widths[0], 4), ToRGB(widths[0])
        pairs = list(itertools.pairwise(widths))
        sides = [8 * 2**i for i in range(len(pairs))]
        self.ups = nn.ModuleList(
            StyledConv(a, b, s, up=True) for (a, b), s in zip(pairs, sides, strict=True)
        )
        self.convs = nn.ModuleList(
            StyledConv(b, b, s) for (_, b), s in zip(pairs, sides, strict=True)
        )
        self.rgbs = nn.ModuleList(ToRGB(b) for _, b in pairs)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        x = self.first(self.const.expand(len(w), -1, -1, -1), w[:, 0])
        rgb = self.first_rgb(x, w[:, 1])
        for i, (up, conv, to_rgb) in enumerate(zip(self.ups, self.convs, self.rgbs, strict=True)):
            x = conv(up(x, w[:, 2 * i + 1]), w[:, 2 * i + 2])
            rgb = to_rgb(x, w[:, 2 * i + 3], rgb)
        return rgb

    def features(self, w: torch.Tensor, before_up) -> dict[int, torch.Tensor]:
        x = self.first(self.const.expand(len(w), -1, -1, -1), w[:, 0])
        found = {4: x}
        for i, (up, conv) in enumerate(zip(self.ups, self.convs, strict=True)):
            x = conv(up(before_up(x), w[:, 2 * i + 1]), w[:, 2 * i + 2])
            found[x.shape[-1]] = x
        return found
