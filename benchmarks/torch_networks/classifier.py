"""The DA classifier in plain torch (arXiv 2207.08134, section 3.3).

ResNet-101 cut in layer3, and Diff-CAM by autograd.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int = 1):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != 4 * width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.main(x) + self.shortcut(x))


def stage(inputs: int, width: int, count: int, stride: int) -> list[nn.Module]:
    return [Bottleneck(inputs, width, stride)] + [
        Bottleneck(4 * width, width) for _ in range(count - 1)
    ]


class DiffCam(nn.Module):
    """The masks [b, h, w] of one class for pairs of pictures."""

    def __init__(self, classes: int = 17, split: int = 10):
        super().__init__()
        layer3 = stage(512, 256, 23, 2)
        self.shared = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *stage(64, 64, 3, 1),
            *stage(256, 128, 4, 2),
            *layer3[:split],
        )
        self.head = nn.Sequential(*layer3[split:], *stage(1024, 512, 3, 2))
        self.fc = nn.Linear(2048, classes)

    def forward(self, inverted: torch.Tensor, edited: torch.Tensor, index: int) -> torch.Tensor:
        with torch.no_grad():
            h = self.head(self.shared(edited) - self.shared(inverted))
        h.requires_grad_()
        (gradient,) = torch.autograd.grad(self.fc(h.mean((2, 3)))[:, index].sum(), h)
        cam = F.relu((gradient.mean((2, 3), keepdim=True) * h.detach()).sum(1, keepdim=True))
        cam = F.interpolate(cam, inverted.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        cam = cam - cam.amin((1, 2), keepdim=True)
        return cam / cam.amax((1, 2), keepdim=True)
