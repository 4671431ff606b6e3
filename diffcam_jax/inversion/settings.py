"""Settings of inversions; weights and rates are traced, so changing them does not recompile."""

import dataclasses

# Patience is counted in a window that is part of the compiled step.
LONGEST_PATIENCE = 128


@dataclasses.dataclass(frozen=True)
class PriorSettings:
    """Settings of "prior".

    Attributes:
        steps: largest number of optimiser steps.
        w_steps: number of steps that move only w.
        w_rate: peak learning rate of Adam for w.
        offset_rate: peak learning rate of Adam for the offsets.
        prior: weight of the mean squared whitened distance of w; that of the offsets counts twice
            as much.
        pixel: weight of the squared error relative to LPIPS.
        face: weight of the close-up of the face relative to the whole picture.
        patience: a picture is settled when its loss did not fall by `tolerance` within this many
            steps; 0 for never.
        tolerance: relative decrease.
        size: side at which pictures are drawn; the close-up is half as wide, the whole picture is
            compared at a quarter.
    """

    steps: int = 100
    w_steps: int = 40
    w_rate: float = 0.05
    offset_rate: float = 0.02
    prior: float = 5e-4
    pixel: float = 0.5
    face: float = 1.0
    patience: int = 30
    tolerance: float = 0.003
    size: int = 512

    def with_steps(self, steps: int) -> "PriorSettings":
        """The same with another number of steps, divided between w and the offsets as before."""
        return dataclasses.replace(
            self, steps=steps, w_steps=round(self.w_steps * steps / self.steps)
        )


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """Settings of every other method that searches codes; the defaults are those of "in_domain".

    Attributes:
        steps: largest number of steps of Adam.
        rate: its learning rate.
        cosine: whether the rate falls from this value to 0 along half a cosine; otherwise it is
            constant.
        pixel: weight of the mean squared error of pictures in [-1, 1].
        perceptual: weight of the mean squared error of VGG16's features; for "in_domain" relu4_3 at
            Caffe's scale, for "image2stylegan" the sum over four layers of the ImageNet-normalised
            network, unused by the others.
        lpips: weight of LPIPS on VGG16; for "in_domain".
        identity: weight of 1 - cosine of SFace's embeddings; for "in_domain".
        domain: weight of the mean squared difference between the code and the encoder's code of its
            picture; for "in_domain".
        offsets: rate at which rows move apart, relative to that at which all move together. Below 1
            codes stay near W, where edits work (Tov et al., arXiv 2102.02766); 1 moves every row
            independently, as in the papers.
        patience: as in `PriorSettings`.
        tolerance: as in `PriorSettings`.
        size: side of the pictures that are compared; smaller generators are compared at their own.
        weights: folder with Caffe's VGG16 for "in_domain"; without one the embedded VGG16 is used,
            see `losses.networks`.
    """

    steps: int = 100
    rate: float = 0.01
    cosine: bool = False
    pixel: float = 1.0
    perceptual: float = 5e-5
    lpips: float = 0.0
    identity: float = 0.0
    domain: float = 2.0
    offsets: float = 1.0
    patience: int = 30
    tolerance: float = 0.003
    size: int = 256
    weights: str = ""

    def with_steps(self, steps: int) -> "SearchSettings":
        """The same with another number of steps."""
        return dataclasses.replace(self, steps=steps)


@dataclasses.dataclass(frozen=True)
class TuningSettings:
    """Settings of "pivotal_tuning"; rates and weights are traced.

    Attributes:
        steps: largest number of steps of Adam.
        rate: peak learning rate, in standard deviations of each tensor; it rises for `warmup`
            steps, then falls along half a cosine to 0.
        warmup: number of steps until the peak.
        lpips: weight of LPIPS on AlexNet at half the picture's size.
        half: weight of the mean squared error at half size.
        full: weight of the mean squared error at full size. Without it the finest wavelet bands of
            the embedded generator leave a checkerboard.
        patience: a picture is settled when its loss did not fall by `tolerance` within this many
            steps; 0 for never.
        tolerance: relative decrease.
    """

    steps: int = 20
    rate: float = 0.015
    warmup: int = 4
    lpips: float = 1.0
    half: float = 1.0
    full: float = 1.0
    patience: int = 0
    tolerance: float = 0.003

    def with_steps(self, steps: int) -> "TuningSettings":
        """The same with another number of steps."""
        return dataclasses.replace(self, steps=steps)


AnySettings = PriorSettings | SearchSettings | TuningSettings

# For "in_domain": from an encoder's code to a likeness that can be edited. On two photographs, 30
# steps at 256 pixels: with independent rows (offsets=1, no identity) LPIPS reaches 0.281 and SFace
# 0.556, rows are 0.163 apart, and glasses can no longer be added; these settings reach 0.321, 0.867
# and 0.077. A rate of 0.1 moves rows 0.124 apart for an LPIPS 0.013 lower, and weakens edits of
# beards and age. Measuring codes in standard deviations of the prior along its axes was no better.
REFINEMENT = SearchSettings(
    rate=0.05,
    cosine=True,
    pixel=0.3,
    perceptual=0.0,
    lpips=1.0,
    identity=0.3,
    domain=0.3,
    offsets=0.25,
    patience=0,
)
