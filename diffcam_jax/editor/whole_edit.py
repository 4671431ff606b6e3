"""One face edited as published: the whole picture, without a window and without tuning."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.directions import Edit
from diffcam_jax.editing.asked import edits_of
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.edit import edit_batch
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.editor.results import FaceEdit, judged
from diffcam_jax.files.domain import FACES, Domain
from diffcam_jax.ops.image import from_unit, to_unit


def edit_whole(
    networks: Pipeline,
    aligned: UInt8[np.ndarray, "s s 3"],
    codes: Float[np.ndarray, "rows k"],
    quad: Float[np.ndarray, "4 2"],
    strengths: Mapping[str, float],
    directions: Mapping[str, Edit],
    config: EditConfig,
    user_mask: Float[np.ndarray, "s s"] | None,
    domain: Domain = FACES,
) -> FaceEdit:
    """Edits one face.

    Args:
        networks: without a deghosting network the blend of Eq. 5 is the result.
        aligned: the face.
        codes: its W+ code.
        quad: where it lies in the photograph.
        strengths: by attribute, in the order in which they are applied. One that is no class of
            the classifier gets this far only with a method that asks no classifier.
        directions: and other edits, by name.
        config: choices.
        user_mask: where the edit may act, or also acts.
        domain: what kind of pictures they are; nothing is edited in its padding.

    Raises:
        UserError: an edit cannot move this face, see `Edit.moved`.
    """
    size, names, classes = len(aligned), list(strengths), networks.classifier.names
    chosen = np.array([classes.index(n) if n in classes else -1 for n in names], np.int32)
    amounts = np.array([list(strengths.values())], np.float32)
    given = [directions[name] for name in names], amounts, chosen
    edits = edits_of(*given, aligned[None], codes[None])
    config = dataclasses.replace(config, classifier_size=min(config.classifier_size, size))
    by_hand = None if user_mask is None else jnp.asarray(user_mask[None])
    image, code = jnp.asarray(to_unit(aligned)[None]), jnp.asarray(codes[None])
    # From here on NumPy: every operation on a device would be compiled, at each start.
    edit = jax.device_get(edit_batch(networks, image, code, edits, config, by_hand))
    inside = domain.inside(size)
    logits, mask = [] if edit.logits is None else edit.logits[0], edit.mask[0] * inside
    cam_mask, out = (None if m is None else m[0] for m in (edit.cam_mask, edit.domain))
    report = {
        "mask_area": round(float((mask > 0).mean()), 6),
        "out_of_domain_share": None if out is None else round(float(out.mean()), 6),
        "classifier": judged(names, classes, logits),
        "seconds": {},
    }
    return FaceEdit(
        aligned=aligned,
        inverted=from_unit(edit.inverted[0]),
        edited=from_unit(edit.edited[0]),
        fused=np.where(inside[..., None] > 0, from_unit(edit.fused[0]), aligned),
        deghosted=None if edit.deghosted is None else from_unit(edit.deghosted[0]),
        source=edit.source[0] / 2 + np.float32(0.5),
        mask=mask,
        cam_mask=cam_mask,
        domain=out,
        paste_mask=edit.paste_mask[0] * inside,
        latents=codes,
        edited_latents=edit.codes[0],
        quad=quad,
        report=report,
    )
