"""Every step of an edit as a picture: what `edit.py --stages` writes.

DIR/aligned.png, inverted.png, edited.png, mask.png, fused.png, ... of each face, result.png, and
stages.png with all of them side by side.
"""

from pathlib import Path

import numpy as np

from diffcam_jax.editor.results import EditResult, FaceEdit
from diffcam_jax.faces.panel import grey, heat_overlay, labelled_row, stack_rows
from diffcam_jax.faces.photo import Photo, to_8_bits, write_photo

# What the panel calls the masks: an edit acts where the one is bright, and keeps the photograph
# where the other is.
CAM_MASK, DOMAIN = "mask of Diff-CAM", "out of domain"


def write_stages(folder: Path, photo: Photo, result: EditResult) -> None:
    """Writes every stage of every face, and one labelled panel with a row per face.

    Args:
      folder: made when missing; with several faces the names of their files end in _1, _2, ...
      photo: that was edited.
      result: the edit.

    Raises:
      UserError: a file cannot be written.
    """
    original, final = to_8_bits(photo.pixels), to_8_bits(result.image)
    rows = []
    for number, face in enumerate(result.faces, 1):
        suffix = "" if len(result.faces) == 1 else f"_{number}"
        shown = {"photograph": original}
        for label, picture in _stages(face).items():
            name = {CAM_MASK: "cam_mask", DOMAIN: "out_of_domain"}.get(label, label)
            is_mask = picture.ndim == 2
            write_photo(folder / f"{name}{suffix}.png", grey(picture) if is_mask else picture)
            shown[label] = heat_overlay(face.aligned, picture) if is_mask else picture
        rows.append(labelled_row(shown | {"result": final}))
    write_photo(folder / "result.png", result.image)
    write_photo(folder / "stages.png", np.asarray(stack_rows(rows)))


def _stages(face: FaceEdit) -> dict[str, np.ndarray]:
    """Label -> picture, uint8 [s, s, 3], or mask [s, s] in [0, 1], in the order of the edit."""
    stages = {
        "aligned": face.aligned,
        "inverted": face.inverted,
        "edited": face.edited,
        CAM_MASK: face.cam_mask,
        DOMAIN: face.domain,
        "mask": face.mask,
        "fused": face.fused,
        "deghosted": face.deghosted,
    }
    return {label: picture for label, picture in stages.items() if picture is not None}
