"""pSp's encoder in plain torch (arXiv 2008.00951): IR-SE50 body, feature pyramid.

One head a style.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class SqueezeExcite(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = (
            nn.Conv2d(width, width // 16, 1, bias=False),
            nn.Conv2d(width // 16, width, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Unit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        if inputs == outputs:
            self.shortcut = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.main = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            SqueezeExcite(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x) + self.shortcut(x)


class Head(nn.Module):
    def __init__(self, side: int):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(int(math.log2(side))):
            layers += [nn.Conv2d(512, 512, 3, 2, 1), nn.LeakyReLU()]
        self.convs, self.linear = nn.Sequential(*layers), nn.Linear(512, 512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convs(x).flatten(1))


class PSPEncoder(nn.Module):
    """[b, 3, 256, 256] -> [b, 18, 512]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        units, before = [], 64
        for width, count in ((64, 3), (128, 4), (256, 14), (512, 3)):
            units += [Unit(before, width, 2)] + [Unit(width, width, 1) for _ in range(count - 1)]
            before = width
        self.body = nn.ModuleList(units)
        self.lateral1, self.lateral2 = nn.Conv2d(256, 512, 1), nn.Conv2d(128, 512, 1)
        self.heads = nn.ModuleList(Head(16 if i < 3 else 32 if i < 7 else 64) for i in range(18))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, taps = self.stem(x), {}
        for i, unit in enumerate(self.body):
            taps[i] = x = unit(x)
        p2 = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True) + self.lateral1(
            taps[20]
        )
        p1 = F.interpolate(p2, scale_factor=2, mode="bilinear", align_corners=True) + self.lateral2(
            taps[6]
        )
        maps = [x] * 3 + [p2] * 4 + [p1] * 11
        return torch.stack([head(m) for head, m in zip(self.heads, maps, strict=True)], 1)
