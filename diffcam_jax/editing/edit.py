"""The whole edit as one pure function over a batch of aligned pictures, compiled once per shape.

I the aligned original, I' = G(w) its inversion, T_i = G(w + sum of the first i edits), all NHWC RGB
in [-1, 1]. The mask of step i comes from the pair (T_{i-1}, T_i), the final mask is their maximum,
and the last T is blended into I there (Diff-CAM, arXiv 2207.08134: Eq. 1 to 5 and section 3.6).
Invertibility decomposition (arXiv 2212.09262) takes that place, or takes what is out of the
generator's domain from the mask. `Editor` in `diffcam_jax.editor` wraps this for photographs.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffcam_jax.editing.compose import (
    MaskConfig,
    blend,
    combine,
    refine,
    resize_mask,
    with_user_mask,
)
from diffcam_jax.editing.decomposition import Modules, Settings, Variables, decompose, domain_mask
from diffcam_jax.editing.diffcam import OFFICIAL, Activation, CamConfig, cam, diff_cam, grad_cam
from diffcam_jax.editing.window_edit import WindowConfig
from diffcam_jax.errors import UserError
from diffcam_jax.nn.invertibility import Aligner
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster, Views
from diffcam_jax.ops.image import resize

METHODS: dict[str, Callable[..., Activation]] = {
    "diffcam": diff_cam,
    "grad_cam": grad_cam,
    "cam": cam,
}
# Methods that look for what is out of the generator's domain.
DECOMPOSING = ("invertibility", "both")


@dataclasses.dataclass(frozen=True)
class EditConfig:
    """Choices of an edit; hashable, so it can be a static argument of jit.

    Attributes:
      method: "diffcam", or a baseline "grad_cam", "cam"; "invertibility" is the published
        decomposition, without a class activation map and what follows one; "both" is Diff-CAM that
        leaves alone what is out of domain.
      cam: how a class activation map becomes a mask.
      mask: contrast, dilation, feather and resizing of the mask, in pixels at `classifier_size`.
      user_mask: how a hand-made mask enters, "union" or "intersection".
      classifier_size: side of the pictures the classifier compares.
      paste: with a deghosting network, how the mask becomes the region where its picture replaces
        the photograph. The official code replaces everything; here what the edit does not touch
        stays the photograph's.
      domain: with "both", contrast, dilation and feather of the mask of what is out of domain, in
        pixels at `classifier_size`.
      window: how `Editor` takes a window of the tuned generator into the photograph, the product's
        way; None edits whole pictures as published, which is what `edit_batch` does in any case.
    """

    method: Literal["diffcam", "grad_cam", "cam", "invertibility", "both"] = "diffcam"
    cam: CamConfig = OFFICIAL
    mask: MaskConfig = MaskConfig()
    user_mask: Literal["union", "intersection"] = "intersection"
    classifier_size: int = 256
    paste: MaskConfig = MaskConfig(high=0.1, dilation=8, feather=8, resize="bilinear")
    domain: MaskConfig = MaskConfig(low=0.3, high=0.7, dilation=2, feather=4, resize="bilinear")
    window: WindowConfig | None = None


class EditParams(NamedTuple):
    """Variables of the networks, {"params": ..., and other collections}.

    The last four where there are such networks.

    Attributes:
      generator, classifier, deghoster: of the edit.
      encoder, aligner: of the decomposition.
      latent_avg: average code that the encoder's offsets are from, [k], [1, k] or [n, k].
    """

    generator: dict
    classifier: dict
    deghoster: dict | None = None
    encoder: dict | None = None
    aligner: dict | None = None
    latent_avg: Array | None = None


class Decomposer(NamedTuple):
    """The networks that tell what is out of a generator's domain, without their weights.

    Hashable, for jit.

    Attributes:
      encoder: whose maps are compared with the generator's.
      aligner: that compares them.
      settings: how the encoder is used.
    """

    encoder: nn.Module
    aligner: Aligner
    settings: Settings


class Edit(NamedTuple):
    """What an edit of a batch gives.

    Attributes:
      inverted: I' at full size [b, s, s, 3].
      edited: T, the inversion with all edits [b, s, s, 3]; with "invertibility" drawn from the
        features that were moved.
      source: what is blended in, T or the deghosted picture [b, s, s, 3].
      mask: final mask [b, s, s] in [0, 1].
      cam_mask: with "both", Diff-CAM's mask [b, s, s] before the domain and the user's mask have
        their say; else None.
      domain: what is out of domain and kept [b, s, s], with "both" after `EditConfig.domain`; None
        where it was not looked for.
      fused: Eq. 5 [b, s, s, 3]; equal to the original, bit for bit, where the mask is 0.
      deghosted: the deghosting network's picture [b, s, s, 3] of the fused one; None without such a
        network.
      paste_mask: where `source` replaces the original in the end [b, s, s]; the mask, or with
        deghosting a region around it.
      logits: scores of the classifier for each step [b, r, N]; None with "invertibility", which
        asks none.
      codes: edited W+ codes [b, rows, k].
    """

    inverted: Float[Array, "b s s 3"]
    edited: Float[Array, "b s s 3"]
    source: Float[Array, "b s s 3"]
    mask: Float[Array, "b s s"]
    cam_mask: Float[Array, "b s s"] | None
    domain: Float[Array, "b s s"] | None
    fused: Float[Array, "b s s 3"]
    deghosted: Float[Array, "b s s 3"] | None
    paste_mask: Float[Array, "b s s"]
    logits: Float[Array, "b r n"] | None
    codes: Float[Array, "b rows k"]


def check_method(method: str, aligner: bool) -> None:
    """Whether edits can be made so.

    Args:
      method: of `EditConfig`.
      aligner: whether there is an alignment network.

    Raises:
      UserError: no such method, or it needs an alignment network.
    """
    if method not in (*METHODS, *DECOMPOSING):
        raise UserError(
            f"no method is called {method!r}; there are {', '.join((*METHODS, *DECOMPOSING))}"
        )
    if method in DECOMPOSING and not aligner:
        raise UserError(
            f"method {method} needs an alignment network and there is none for these networks; "
            f"give --aligner DIR, or choose --method diffcam"
        )


def deghost(
    deghoster: nn.Module, params: EditParams, views: Views, generator: nn.Module
) -> Float[Array, "b s s 3"]:
    """The blend without ghosts, not clamped; the official network looks at the reduced blend alone.

    Args:
      deghoster: a `Deghoster`, or a `MobileDeghoster`, whose prior is the edit's own generator.
      params: variables of both.
      views: what the edit knows.
      generator: its module.
    """
    if isinstance(deghoster, MobileDeghoster):
        return deghoster.apply(params.deghoster, views, generator, params.generator)
    side = (deghoster.in_size, deghoster.in_size)
    return deghoster.apply(params.deghoster, resize(views.fused, side, "area"))


def decomposing(
    generator: nn.Module, decomposer: Decomposer, params: EditParams
) -> tuple[Modules, Variables]:
    """The networks of an edit as `invertibility` takes them."""
    modules = Modules(generator, decomposer.encoder, decomposer.aligner)
    return modules, Variables(params.generator, params.encoder, params.aligner, params.latent_avg)


def edit_by_decomposition(
    generator: nn.Module,
    decomposer: Decomposer,
    params: EditParams,
    images: Float[Array, "b s s 3"],
    codes: Float[Array, "b rows k"],
    delta: Float[Array, "b rows k"],
    user_mask: Float[Array, "b s s"] | None,
    config: EditConfig,
) -> Edit:
    """The edit as invertibility decomposition has it: everything is drawn anew but what the
    generator cannot draw.

    Args:
      generator, decomposer: modules.
      params: their variables.
      images, codes, user_mask, config: as for `edit_batch`.
      delta: sum of all edits.

    Reference:
      2212.09262; only the clamping of the drawn picture before the blend is ours.
    """
    found = decompose(
        *decomposing(generator, decomposer, params), images, delta, codes, decomposer.settings
    )
    size, mask = images.shape[1], 1 - found.mask
    if user_mask is not None:
        mask = with_user_mask(mask, user_mask, config.user_mask)
    inverted = generator.apply(params.generator, codes, method="synthesis", size=size).clip(-1, 1)
    source = found.generated.clip(-1, 1)
    fused = blend(images, source, mask)
    return Edit(
        inverted=inverted,
        edited=source,
        source=source,
        mask=mask,
        cam_mask=None,
        domain=found.mask,
        fused=fused,
        deghosted=None,
        paste_mask=mask,
        logits=None,
        codes=found.codes,
    )


@functools.partial(
    jax.jit, static_argnums=(0, 3), inline=True
)  # the second picture is not traced anew
def _synthesis(
    generator: nn.Module, variables: dict, w: Float[Array, "b rows k"], side: int
) -> Float[Array, "b v v 3"]:
    return generator.apply(variables, w, method="synthesis", size=side)


@functools.partial(
    jax.jit, static_argnames=("generator", "classifier", "config", "deghoster", "decomposer")
)
def edit_batch(
    generator: nn.Module,
    classifier: nn.Module,
    params: EditParams,
    images: Float[Array, "b s s 3"],
    codes: Float[Array, "b rows k"],
    directions: Float[Array, "r rows k"],
    strengths: Float[Array, "b r"],
    classes: Int[Array, " r"],
    config: EditConfig = EditConfig(),
    user_mask: Float[Array, "b s s"] | None = None,
    deghoster: nn.Module | None = None,
    decomposer: Decomposer | None = None,
) -> Edit:
    """Edits a batch of aligned pictures whose codes are known.

    A negative strength undoes an attribute: the pair is swapped, so that the classifier sees the
    attribute appear. A strength of 0 changes nothing and has an empty mask, except with
    "invertibility", which draws every face anew.

    Args:
      generator, classifier: modules (static).
      params: their parameters.
      images: I [b, s, s, 3] in [-1, 1], s the generator's resolution.
      codes: W+ codes [b, rows, k] of I, from an encoder or `inversion`.
      directions: [r, rows, k], in the order in which they are applied.
      strengths: [b, r].
      classes: [r] index of each direction among the classifier's classes.
      config: static choices.
      user_mask: optional [b, s, s] in [0, 1]; as a "union" it lets the edit act out of domain, too.
      deghoster: module (static), see `deghost`; None leaves the blend as it is. "invertibility" has
        no use for it.
      decomposer: modules (static) that "invertibility" and "both" need.

    Returns:
      An `Edit`.

    Raises:
      UserError: no such method, or it needs a decomposer.
    """
    check_method(config.method, decomposer is not None)
    size, small = images.shape[1], config.classifier_size

    draw = functools.partial(_synthesis, generator, params.generator)

    # Codes after 0, 1, ... r edits (section 3.6): the pairs are neighbours in this list.
    steps = strengths.T[:, :, None, None] * directions[:, None]
    ladder = [codes]
    for step in steps:
        ladder.append(ladder[-1] + step)
    if config.method == "invertibility":
        delta = jnp.sum(steps, axis=0)
        return edit_by_decomposition(
            generator, decomposer, params, images, codes, delta, user_mask, config
        )
    # The classifier sees pictures as the generator draws them; only what leaves this function is
    # clamped.
    inverted, edited = draw(codes, size), draw(ladder[-1], size)
    pictures = [
        resize(inverted, (small, small), "area"),
        *(draw(w, small) for w in ladder[1:-1]),
        resize(edited, (small, small), "area"),
    ]

    find, masks, logits = METHODS["diffcam" if config.method == "both" else config.method], [], []
    for i, (before, after) in enumerate(itertools.pairwise(pictures)):
        undo = (strengths[:, i] < 0)[:, None, None, None]
        pair = jnp.where(undo, after, before), jnp.where(undo, before, after)
        chosen = jnp.broadcast_to(classes[i], (len(images),))
        activation = find(classifier, params.classifier, *pair, chosen, config.cam)
        masks.append(jnp.where((strengths[:, i] == 0)[:, None, None], 0.0, activation.mask))
        logits.append(activation.logits)

    mask = refine(combine(jnp.stack(masks)), config.mask)
    mask = resize_mask(mask, (size, size), config.mask.resize)
    cam_mask = domain = None
    if config.method == "both":
        networks = decomposing(generator, decomposer, params)
        out = refine(
            domain_mask(*networks, images, codes, decomposer.settings, small), config.domain
        )
        # What may change is enlarged, not what may not: zeros stay exact zeros.
        drawable = resize_mask(1 - out, (size, size), config.domain.resize)
        cam_mask, domain, mask = mask, 1 - drawable, jnp.minimum(mask, drawable)
    if user_mask is not None:
        mask = with_user_mask(mask, user_mask, config.user_mask)
    inverted, edited = inverted.clip(-1, 1), edited.clip(-1, 1)
    source, paste_mask = edited, mask
    fused, deghosted = blend(images, source, mask), None
    if deghoster is not None:
        views = Views(fused, images, inverted, edited, mask, ladder[-1])
        source = deghosted = deghost(deghoster, params, views, generator).clip(-1, 1)
        region = refine(resize(mask, (small, small), "area"), config.paste)
        paste_mask = resize_mask(region, (size, size), config.paste.resize)
        if domain is not None:
            paste_mask = jnp.minimum(paste_mask, drawable)
        if user_mask is not None:
            paste_mask = with_user_mask(paste_mask, user_mask, config.user_mask)
    scores = jnp.stack(logits, 1)
    return Edit(
        inverted,
        edited,
        source,
        mask,
        cam_mask,
        domain,
        fused,
        deghosted,
        paste_mask,
        scores,
        ladder[-1],
    )
