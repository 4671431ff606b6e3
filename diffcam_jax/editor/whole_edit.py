"""One face edited as published: the whole picture, without a window and without tuning."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.directions import Direction, direction_matrix
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.edit import Edits, edit_batch
from diffcam_jax.editing.pipeline import Pipeline
from diffcam_jax.editor.results import FaceEdit, judged
from diffcam_jax.ops.image import from_unit, to_unit


def edits_of(
    strengths: Mapping[str, float],
    directions: Mapping[str, Direction],
    classes: Sequence[str],
    rows: int,
) -> Edits:
    """What is asked for, as `edit_batch` takes it, for one picture.

    Args:
        strengths: by attribute, in the order in which they are applied.
        directions: by name.
        classes: of the classifier. An attribute that is none of them gets this far only with a
            method that asks no classifier.
        rows: of the generator's codes.
    """
    names = list(strengths)
    found = [classes.index(name) if name in classes else -1 for name in names]
    return Edits(
        jnp.asarray(direction_matrix(directions, names, rows)),
        jnp.asarray([list(strengths.values())], jnp.float32),
        jnp.asarray(np.array(found, np.int32)),
    )


def edit_whole(
    networks: Pipeline,
    aligned: UInt8[np.ndarray, "s s 3"],
    codes: Float[np.ndarray, "rows k"],
    quad: Float[np.ndarray, "4 2"],
    edits: Edits,
    names: Sequence[str],
    config: EditConfig,
    user_mask: Float[np.ndarray, "s s"] | None,
) -> FaceEdit:
    """Edits one face.

    Args:
        networks: without a deghosting network the blend of Eq. 5 is the result.
        aligned: the face.
        codes: its W+ code.
        quad: where it lies in the photograph.
        edits: of one picture, see `edits_of`.
        names: of the attributes.
        config: choices.
        user_mask: where the edit may act, or also acts.
    """
    size, classes = len(aligned), networks.classifier.names
    config = dataclasses.replace(config, classifier_size=min(config.classifier_size, size))
    by_hand = None if user_mask is None else jnp.asarray(user_mask[None])
    image, code = jnp.asarray(to_unit(aligned)[None]), jnp.asarray(codes[None])
    # From here on NumPy: every operation on a device would be compiled, at each start.
    edit = jax.device_get(edit_batch(networks, image, code, edits, config, by_hand))
    logits, mask = [] if edit.logits is None else edit.logits[0], edit.mask[0]
    cam_mask, domain = (None if m is None else m[0] for m in (edit.cam_mask, edit.domain))
    report = {
        "mask_area": round(float((mask > 0).mean()), 6),
        "out_of_domain_share": None if domain is None else round(float(domain.mean()), 6),
        "classifier": judged(names, classes, logits),
        "seconds": {},
    }
    return FaceEdit(
        aligned=aligned,
        inverted=from_unit(edit.inverted[0]),
        edited=from_unit(edit.edited[0]),
        fused=from_unit(edit.fused[0]),
        deghosted=None if edit.deghosted is None else from_unit(edit.deghosted[0]),
        source=edit.source[0] / 2 + np.float32(0.5),
        mask=mask,
        cam_mask=cam_mask,
        domain=domain,
        paste_mask=edit.paste_mask[0],
        latents=codes,
        edited_latents=edit.codes[0],
        quad=quad,
        report=report,
    )
