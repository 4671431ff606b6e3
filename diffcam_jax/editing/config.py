"""The choices of an edit, and the table of variants: product, official release, paper.

    variant     mask                  normalise                 resize      acts in
    product     hard core and rim     (M - min) / (max - min)   bilinear    a window of the tuned
                                                                            generator
    official    as it comes           (M - min) / (max - min)   nearest     the whole picture
    paper       as it comes           M / max                   bilinear    the whole picture

The sign of Eq. 1, in which paper and release differ too, is a property of the trained classifier
(`classifier.Classifier.sign`), not a choice.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

from diffcam_jax.editing.compose import MaskConfig
from diffcam_jax.editing.diffcam import (
    OFFICIAL,
    PAPER,
    Activation,
    CamConfig,
    cam,
    diff_cam,
    grad_cam,
)
from diffcam_jax.errors import UserError

METHODS: dict[str, Callable[..., Activation]] = {
    "diffcam": diff_cam,
    "grad_cam": grad_cam,
    "cam": cam,
}
# Methods that look for what is out of the generator's domain.
DECOMPOSING = ("invertibility", "both")


@dataclasses.dataclass(frozen=True)
class WindowConfig:
    """Choices of the product's blend; hashable. Lengths in pixels of 256, differences in [0, 2].

    A blend takes lengths in pixels of its masks: see `at`.

    Attributes:
        cam: value of Diff-CAM's mask from which on the attribute is meant.
        share: the core is where the change exceeds this share of the largest ...
        least: ... and this difference.
        rim: width of the softening outside the core.
        smooth: radius over which the change is smoothed before the core is taken.
        detail: change from which on the photograph's own detail goes.
        membrane: whether light and colour are made to meet at the rim.
    """

    cam: float = 0.3
    share: float = 0.25
    least: float = 0.03
    rim: int = 6
    smooth: int = 2
    detail: float = 0.2
    membrane: bool = True

    def at(self, size: int) -> "WindowConfig":
        """The same lengths in pixels of another size, at least one."""
        lengths = {"rim": self.rim, "smooth": self.smooth}
        scaled = {name: max(1, round(x * size / 256)) for name, x in lengths.items()}
        return dataclasses.replace(self, **scaled)


@dataclasses.dataclass(frozen=True)
class EditConfig:
    """Choices of an edit; hashable, so it can be a static argument of jit.

    Attributes:
        method: "diffcam", or a baseline "grad_cam", "cam"; "invertibility" is the published
            decomposition, without a class activation map and what follows one; "both" is Diff-CAM
            that leaves alone what is out of domain.
        cam: how a class activation map becomes a mask.
        mask: contrast, dilation, feather and resizing of the mask, in pixels at `classifier_size`.
        user_mask: how a hand-made mask enters, "union" or "intersection".
        classifier_size: side of the pictures the classifier compares.
        paste: with a deghosting network, how the mask becomes the region where its picture replaces
            the photograph. The official code replaces everything; here what the edit does not touch
            stays the photograph's.
        domain: with "both", contrast, dilation and feather of the mask of what is out of domain, in
            pixels at `classifier_size`.
        window: how `Editor` takes a window of the tuned generator into the photograph, the
            product's way; None edits whole pictures as published, which is what `edit_batch` does
            in any case.
    """

    method: Literal["diffcam", "grad_cam", "cam", "invertibility", "both"] = "diffcam"
    cam: CamConfig = OFFICIAL
    mask: MaskConfig = MaskConfig()
    user_mask: Literal["union", "intersection"] = "intersection"
    classifier_size: int = 256
    paste: MaskConfig = MaskConfig(high=0.1, dilation=8, feather=8, resize="bilinear")
    domain: MaskConfig = MaskConfig(low=0.3, high=0.7, dilation=2, feather=4, resize="bilinear")
    window: WindowConfig | None = None

    @property
    def activation(self) -> Callable[..., Activation]:
        """The function that makes the class activation map of the method."""
        return METHODS["diffcam" if self.method == "both" else self.method]


# A mask's faint rim would move pixels for nothing, and its core should take the edit whole; the
# feather hides the border.
_PRODUCT_MASK = MaskConfig(low=0.45, high=0.65, dilation=6, feather=10, resize="bilinear")

VARIANTS: dict[str, EditConfig] = {
    "product": EditConfig(mask=_PRODUCT_MASK, window=WindowConfig()),
    "official": EditConfig(mask=MaskConfig(resize=OFFICIAL.resize)),
    "paper": EditConfig(cam=PAPER, mask=MaskConfig(resize=PAPER.resize)),
}


def check_method(method: str, aligner: bool) -> None:
    """Whether edits can be made so.

    Args:
        method: of `EditConfig`.
        aligner: whether there is an alignment network.

    Raises:
        UserError: no such method, or it needs an alignment network.
    """
    if method not in (*METHODS, *DECOMPOSING):
        known = ", ".join((*METHODS, *DECOMPOSING))
        raise UserError(f"no method is called {method!r}; there are {known}")
    if method in DECOMPOSING and not aligner:
        raise UserError(
            f"method {method} needs an alignment network and there is none for these networks; "
            f"give --aligner DIR, or choose --method diffcam"
        )
