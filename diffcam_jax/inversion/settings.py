"""Settings of inversions: weights and rates are traced, so that no change of them compiles anew."""

import dataclasses

# Patience is counted in a window that is part of the compiled step.
LONGEST_PATIENCE = 128


@dataclasses.dataclass(frozen=True)
class InversionConfig:
    """Settings of "prior".

    Attributes:
        steps: of the optimiser, at most.
        w_steps: how many of them move w alone.
        w_rate, offset_rate: peak learning rates of Adam.
        prior: weight of the mean squared whitened distance of w; that of the offsets counts twice
            as much.
        pixel: weight of the squared error against LPIPS.
        face: weight of the close-up of the face against the whole picture.
        patience: a picture is settled when its loss did not fall by `tolerance` (relative) within
            so many steps; 0: never.
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

    def with_steps(self, steps: int) -> "InversionConfig":
        """The same with other steps in all, shared out between w and the offsets as before."""
        return dataclasses.replace(
            self, steps=steps, w_steps=round(self.w_steps * steps / self.steps)
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of every other method that finds codes; as they stand those of "in_domain".

    Attributes:
        steps: of Adam, at most.
        rate: its learning rate.
        cosine: the rate falls from this value to 0 along half a cosine; else it stays.
        pixel: weight of the mean squared error of pictures in [-1, 1].
        perceptual: weight of the mean squared error of VGG16's features; for "in_domain" relu4_3 at
            Caffe's scale, for "image2stylegan" the sum over four layers of the ImageNet-normalised
            network, for the others nothing.
        lpips: weight of LPIPS on VGG16; for "in_domain".
        identity: weight of 1 - cosine of SFace's embeddings; for "in_domain".
        domain: weight of the mean squared difference between the code and the encoder's code of its
            picture; for "in_domain".
        offsets: rate at which rows move apart, as a share of that at which all move together. Below
            1 codes stay near W, where edits work (Tov et al., arXiv 2102.02766); 1 moves every row
            for itself, as the papers do.
        patience, tolerance: as in `InversionConfig`.
        size: side of the pictures that are compared; smaller generators are compared at their own.
        weights: folder with Caffe's VGG16 for "in_domain"; without one the embedded VGG16 stands
            in, see `perceptual`.
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

    def with_steps(self, steps: int) -> "Settings":
        """The same with other steps."""
        return dataclasses.replace(self, steps=steps)


@dataclasses.dataclass(frozen=True)
class TuningSettings:
    """Settings of "pivotal_tuning"; rates and weights are traced.

    Attributes:
        steps: of Adam, at most.
        rate: peak learning rate, in deviations of each tensor; a rise of `warmup` steps, then half
            a cosine down to 0.
        warmup: steps until the peak.
        lpips: weight of LPIPS on AlexNet at half the picture's size.
        half, full: weights of the mean squared errors at half and at full size. Without the latter
            the finest wavelet bands of the embedded generator leave a checkerboard.
        patience, tolerance: a picture is settled when its loss did not fall by `tolerance`
            (relative) within so many steps; 0: never.
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
        """The same with other steps."""
        return dataclasses.replace(self, steps=steps)


AnySettings = InversionConfig | Settings | TuningSettings

# For "in_domain": from an encoder's code to a likeness that can be edited. Of two photographs, 30
# steps at 256 pixels: every row for itself (offsets=1, no identity) ends at LPIPS 0.281 and SFace
# 0.556, rows 0.163 apart, and glasses no longer take; these at 0.321, 0.867 and 0.077. A rate of
# 0.1 moves rows 0.124 apart for an LPIPS 0.013 lower, and weakens beards and age. Counting codes in
# deviations of the prior along its axes was no better.
REFINEMENT = Settings(
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
