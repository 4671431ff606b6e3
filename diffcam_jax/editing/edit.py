"""The whole edit as one pure function over a batch of aligned pictures, compiled once per shape.

I the aligned original, I' = G(w) its inversion, T_i = G(w + sum of the first i edits), all NHWC RGB
in [-1, 1]. The mask of step i comes from the pair (T_{i-1}, T_i), the final mask is their maximum,
and the last T is blended into I there (Diff-CAM, arXiv 2207.08134: Eq. 1 to 5 and section 3.6).
Invertibility decomposition (arXiv 2212.09262) replaces that mask, or takes what is out of the
generator's domain from it. `Editor` in `diffcam_jax.editor` wraps this for photographs.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.editing.compose import blend, combine, refine, resize_mask, with_user_mask
from diffcam_jax.editing.config import EditConfig, check_method
from diffcam_jax.editing.decomposition import decompose, domain_mask
from diffcam_jax.editing.pairs import find
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.nn.mobile_deghosting import MobileDeghoster, Views
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import resize


class Edits(NamedTuple):
    """What is asked for.

    Attributes:
        steps: in W+, in the order in which they are applied: what strength 1 adds to all codes
            [r, rows, k], or what each edit adds to each code at its own strength [r, b, rows, k],
            as `asked.edits_of` finds it for edits that are not linear.
        strengths: [b, r] of each picture; negative undoes an attribute, 0 changes nothing.
        classes: [r] index of each edit's attribute among the classifier's classes.
    """

    steps: Float[Array, "r rows k"] | Float[Array, "r b rows k"]
    strengths: Float[Array, "b r"]
    classes: Int[Array, " r"]


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


@kept_jit(static_argnames="config")
def edit_batch(
    pipeline: Pipeline,
    images: Float[Array, "b s s 3"],
    codes: Float[Array, "b rows k"],
    edits: Edits,
    config: EditConfig = EditConfig(),
    user_mask: Float[Array, "b s s"] | None = None,
) -> Edit:
    """Edits a batch of aligned pictures whose codes are known.

    A negative strength undoes an attribute: the pair is swapped, so that the classifier sees the
    attribute appear. A strength of 0 changes nothing and has an empty mask, except with
    "invertibility", which draws every face anew.

    Args:
        pipeline: the networks; without a deghosting network the blend is the result.
        images: I [b, s, s, 3] in [-1, 1], s the generator's resolution.
        codes: W+ codes [b, rows, k] of I, from an encoder or `inversion`.
        edits: steps, strengths and classes.
        config: static choices.
        user_mask: optional [b, s, s] in [0, 1]; as a "union" it lets the edit act out of domain,
            too.

    Returns:
        An `Edit`.

    Raises:
        UserError: no such method, or it needs an alignment network.
    """
    check_method(config.method, pipeline.aligner is not None)
    if config.method == "invertibility":
        return _edit_by_decomposition(pipeline, images, codes, edits, config, user_mask)
    size, small = images.shape[1], config.classifier_size
    ladder = code_ladder(codes, edits)
    # The classifier sees pictures as the generator draws them; only what leaves this function is
    # clamped.
    inverted, edited = (_synthesis(pipeline.generator, w, size) for w in (codes, ladder[-1]))
    pictures = [
        resize(inverted, (small, small), "area"),
        *(_synthesis(pipeline.generator, w, small) for w in ladder[1:-1]),
        resize(edited, (small, small), "area"),
    ]
    found = find(pipeline.classifier, pictures, edits.classes, edits.strengths.T < 0, config)
    masks = jnp.where((edits.strengths == 0)[..., None, None], 0.0, found.mask)
    mask = refine(combine(jnp.moveaxis(masks, 1, 0)), config.mask)
    mask = resize_mask(mask, (size, size), config.mask.resize)
    cam_mask = domain = None
    if config.method == "both":
        # What may change is enlarged, not what may not: zeros stay exact zeros.
        out = refine(domain_mask(pipeline.decomposer, images, codes, small), config.domain)
        drawable = resize_mask(1 - out, (size, size), config.domain.resize)
        cam_mask, domain, mask = mask, 1 - drawable, jnp.minimum(mask, drawable)
    if user_mask is not None:
        mask = with_user_mask(mask, user_mask, config.user_mask)
    inverted, edited = inverted.clip(-1, 1), edited.clip(-1, 1)
    edit = Edit(
        inverted=inverted,
        edited=edited,
        source=edited,
        mask=mask,
        cam_mask=cam_mask,
        domain=domain,
        fused=blend(images, edited, mask),
        deghosted=None,
        paste_mask=mask,
        logits=found.logits,
        codes=ladder[-1],
    )
    if pipeline.deghoster is None:
        return edit
    return _without_ghosts(pipeline, images, edit, config, user_mask)


def code_ladder(codes: Float[Array, "b rows k"], edits: Edits) -> list[Float[Array, "b rows k"]]:
    """Codes after 0, 1, ... r edits (section 3.6): the pairs are neighbours in this list."""
    steps = edits.steps
    if steps.ndim == 3:
        steps = edits.strengths.T[:, :, None, None] * steps[:, None]
    return list(itertools.accumulate(steps, initial=codes))


def deghost(deghoster: Network, views: Views, generator: Network) -> Float[Array, "b s s 3"]:
    """The blend without ghosts, not clamped (section 3.4).

    Args:
        deghoster: a `Deghoster`, which looks at the reduced blend alone, or a `MobileDeghoster`,
            whose prior is the edit's own generator.
        views: what the edit knows.
        generator: that the pictures were drawn by.
    """
    module = deghoster.module
    if isinstance(module, MobileDeghoster):
        return deghoster(views, *generator)
    return deghoster(resize(views.fused, (module.in_size, module.in_size), "area"))


def _without_ghosts(
    pipeline: Pipeline,
    images: Array,
    edit: Edit,
    config: EditConfig,
    user_mask: Array | None,
) -> Edit:
    """The edit with the deghosting network's picture in a region around the mask."""
    size, small = images.shape[1], config.classifier_size
    views = Views(edit.fused, images, edit.inverted, edit.edited, edit.mask, edit.codes)
    deghosted = deghost(pipeline.deghoster, views, pipeline.generator).clip(-1, 1)
    region = refine(resize(edit.mask, (small, small), "area"), config.paste)
    paste_mask = resize_mask(region, (size, size), config.paste.resize)
    if edit.domain is not None:
        paste_mask = jnp.minimum(paste_mask, 1 - edit.domain)
    if user_mask is not None:
        paste_mask = with_user_mask(paste_mask, user_mask, config.user_mask)
    return edit._replace(source=deghosted, deghosted=deghosted, paste_mask=paste_mask)


def _edit_by_decomposition(
    pipeline: Pipeline,
    images: Array,
    codes: Array,
    edits: Edits,
    config: EditConfig,
    user_mask: Array | None,
) -> Edit:
    """The edit of 2212.09262: everything is drawn anew but what the generator cannot draw.

    Only the clamping of the drawn picture before the blend is ours.
    """
    delta = code_ladder(jnp.zeros_like(codes), edits)[-1]
    found = decompose(pipeline.decomposer, images, delta, codes)
    size, mask = images.shape[1], 1 - found.mask
    if user_mask is not None:
        mask = with_user_mask(mask, user_mask, config.user_mask)
    source = found.generated.clip(-1, 1)
    return Edit(
        inverted=_synthesis(pipeline.generator, codes, size).clip(-1, 1),
        edited=source,
        source=source,
        mask=mask,
        cam_mask=None,
        domain=found.mask,
        fused=blend(images, source, mask),
        deghosted=None,
        paste_mask=mask,
        logits=None,
        codes=found.codes,
    )


@functools.partial(jax.jit, static_argnums=2, inline=True)  # the second picture is not traced anew
def _synthesis(
    generator: Network, codes: Float[Array, "b rows k"], side: int
) -> Float[Array, "b v v 3"]:
    return generator(codes, method="synthesis", size=side)
