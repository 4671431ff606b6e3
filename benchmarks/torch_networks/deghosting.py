"""The deghosting network in plain torch (arXiv 2207.08134, section 3.4; GLEAN.

ArXiv 2012.00739).
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.torch_networks.stylegan2 import Synthesis


class DenseBlock(nn.Module):
    def __init__(self, width: int = 64, growth: int = 32):
        super().__init__()
        outputs = [growth] * 4 + [width]
        self.convs = nn.ModuleList(
            nn.Conv2d(width + i * growth, out, 3, 1, 1) for i, out in enumerate(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [x]
        for conv in self.convs[:-1]:
            maps.append(F.leaky_relu(conv(torch.cat(maps, 1)), 0.2))
        return x + 0.2 * self.convs[-1](torch.cat(maps, 1))


class RRDB(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(DenseBlock(), DenseBlock(), DenseBlock())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.2 * self.blocks(x)


class Deghoster(nn.Module):
    """[b, 3, 128, 128] -> [b, 3, 1024, 1024] with config-f's widths."""

    def __init__(self, widths: tuple[int, ...], in_size: int = 128):
        super().__init__()
        levels = in_size.bit_length() - 2
        self.small, self.large = widths[:levels], widths[levels:]
        self.first, self.body = (
            nn.Conv2d(3, 64, 3, 1, 1),
            nn.Sequential(*(RRDB() for _ in range(23))),
        )
        self.after, self.widen = nn.Conv2d(64, 64, 3, 1, 1), nn.Conv2d(64, self.small[-1], 3, 1, 1)
        downs = list(reversed(self.small))
        self.downs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, 2, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(b, b, 3, 1, 1),
                nn.LeakyReLU(0.2),
            )
            for a, b in itertools.pairwise(downs)
        )
        self.to_styles = nn.Sequential(
            nn.Conv2d(512, 512, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(8192, 2 * len(widths) * 512),
        )
        self.generator = Synthesis(widths)
        self.fusion = nn.ModuleList(nn.Conv2d(2 * width, width, 3, 1, 1) for width in self.small)
        inputs = [self.small[-1], *(2 * width for width in self.large[:-1])]
        self.ups = nn.ModuleList(
            nn.Conv2d(a, 4 * b, 3, 1, 1) for a, b in zip(inputs, self.large, strict=True)
        )
        self.last = nn.Sequential(
            nn.Conv2d(2 * widths[-1], 64, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(64, 3, 3, 1, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = F.leaky_relu(self.widen(self.after(self.body(x)) + x), 0.2)
        maps = {x.shape[-1]: x}
        for down in self.downs:
            x = down(x)
            maps[x.shape[-1]] = x
        styles = self.to_styles(x).reshape(len(x), -1, 512)

        def fuse(y: torch.Tensor) -> torch.Tensor:
            side = y.shape[-1]
            return (
                self.fusion[side.bit_length() - 3](torch.cat([y, maps[side]], 1))
                if side in maps
                else y
            )

        generated = self.generator.features(styles, fuse)
        y = maps[max(maps)]
        for up in self.ups:
            y = F.pixel_shuffle(up(y), 2)
            y = torch.cat([y, generated[y.shape[-1]]], 1)
        return self.last(y)
