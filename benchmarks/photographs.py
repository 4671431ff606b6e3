"""Edits of real photographs: does the attribute move, does the person stay, is everything else untouched?

    python -m benchmarks.photographs --out docs/photographs [--encoder RUN] [--deghoster RUN] [--refine 100] [--photos FOLDER]

The 11 FFHQ photographs of the store, Grace Hopper and (with scikit-image) the astronaut, or those of a folder; five attributes each, with the networks
that `edit.py` takes. Needs the `bench` extra.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np

from diffcam_jax import scorers, weights
from diffcam_jax.align import crop, photo_mask
from diffcam_jax.compilation import keep_compiled_programs
from diffcam_jax.editor import PRODUCT_CONFIG, Editor
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.panel import labelled_row, stack_rows
from diffcam_jax.photo import list_photos, read_photo

# Attribute -> its own score.
ATTRIBUTES = {
    "smiling": "smiling",
    "old": "age",
    "mouth_open": "mouth_open",
    "eyeglasses": "eyeglasses",
    "beard": "beard",
}


def photographs(folder: Path | None = None) -> dict[str, tuple[np.ndarray, bool]]:
    """name -> (pixels, already aligned)."""
    if folder is not None:
        return {path.stem: (read_photo(path).pixels, False) for path in list_photos(folder)}
    import matplotlib.cbook
    import skimage.data

    found = {p.stem: (read_photo(p).pixels, True) for p in sorted(weights.fetch("ffhq_photos").glob("*.png"))}
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        found["hopper"] = (read_photo(file.name).pixels, False)
    found["astronaut"] = (skimage.data.astronaut(), False)
    return found


@functools.cache
def _identity() -> Identity:
    return Identity(batch=1)


@functools.cache
def _lpips() -> Lpips:
    return Lpips("vgg", batch=1)


def measure(editor: Editor, pixels: np.ndarray, aligned: bool, attribute: str, strength: float, refine: int) -> dict:
    """One edit with its numbers; the scores are those of the aligned crop before and after."""
    result = editor.edit(pixels, {attribute: strength}, aligned=aligned, refine=refine)
    face = result.faces[0]
    quad = face.quad
    inside = photo_mask(face.paste_mask, quad, *pixels.shape[:2])[..., None] > 0
    surroundings = np.where(inside, pixels, result.image)
    crops = np.stack([np.round(crop(p, quad, 512) * 255).astype(np.uint8) for p in (pixels, result.image)])
    score = scorers.score(crops, [ATTRIBUTES[attribute]])[ATTRIBUTES[attribute]]
    same = (result.image == pixels).all(-1)
    return {
        "result": result,
        "before": float(score[0]),
        "after": float(score[1]),
        "identity": float(_identity()(crops[:1], crops[1:])[0]),
        "untouched": float(same.mean()),
        "exact": result.report["untouched_exact"],
        "lpips_outside": float(_lpips()([pixels], [surroundings])[0]),
    }


HEADER = """# Edits of real photographs

`python -m benchmarks.photographs --out docs/photographs --refine 30` (strength 1 each). *Own score* is the scorer of the attribute on the aligned crop before and
after (smile blendshape, years, lip gap over eye distance), *identity* the SFace cosine of photograph and result, *untouched* the share of pixels of the
whole photograph that are equal, *exact* whether every pixel outside the mask is, *LPIPS outside* the distance of the photograph from the one whose
surroundings are the result's. The FFHQ photographs carry licences of their own and are not shown.

![Grace Hopper and Eileen Collins](public_domain.jpg)

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for table, numbers and picture sheets")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="other photographs; their sheet is others.jpg")
    parser.add_argument("--encoder", type=Path, metavar="DIR")
    parser.add_argument("--deghoster", type=Path, metavar="DIR")
    parser.add_argument("--refine", type=int, default=0, metavar="N")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_compiled_programs()
    editor = Editor.from_checkpoints(PRODUCT_CONFIG, encoder=options.encoder, deghoster=options.deghoster)
    rows, numbers = {}, {}
    lines = [
        "| photograph | attribute | own score | identity | untouched pixels | exact | LPIPS outside |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (pixels, aligned) in photographs(options.photos).items():
        pictures = {}
        for attribute in ATTRIBUTES:
            found = measure(editor, pixels, aligned, attribute, options.strength, options.refine)
            result = found.pop("result")
            pictures |= {name: result.aligned, "inverted": result.inverted}
            pictures[f"{attribute}: mask"] = result.mask
            pictures[attribute] = np.round(crop(result.image, result.faces[0].quad, 512) * 255).astype(np.uint8)
            numbers[f"{name}/{attribute}"] = found
            lines.append(
                f"| {name} | {attribute} | {found['before']:.3f} -> {found['after']:.3f} | {found['identity']:.2f} "
                f"| {found['untouched']:.1%} | {'yes' if found['exact'] else 'NO'} | {found['lpips_outside']:.3f} |"
            )
            print(lines[-1], flush=True)
        rows[name] = labelled_row(pictures, tile=200)
    lines += ["", *summary(numbers)]
    (options.out / "table.md").write_text(HEADER + "\n".join(lines) + "\n")
    (options.out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
    # The FFHQ photographs have licences of their own: their sheet is for looking, not for committing.
    kinds = {name: "others" if options.photos else "ffhq" if name[0].isdigit() else "public_domain" for name in rows}
    for kind in sorted(set(kinds.values())):
        sheet = stack_rows([row for name, row in rows.items() if kinds[name] == kind])
        sheet.save(options.out / f"{kind}.jpg", quality=85)
    print("\n".join(summary(numbers)), f"\nlook at {options.out}")


def summary(numbers: dict) -> list[str]:
    """Per attribute: right direction, identity above 0.6, exact pixels; faces in which no score or identity was found are left out."""
    lines = []
    for attribute in ATTRIBUTES:
        chosen = [n for key, n in numbers.items() if key.endswith(f"/{attribute}")]
        moved = sum(n["after"] > n["before"] for n in chosen)
        kept = sum(n["identity"] > 0.6 for n in chosen)
        exact = sum(n["exact"] for n in chosen)
        mean = np.nanmean([n["identity"] for n in chosen])
        lines.append(
            f"{attribute}: score moved the right way in {moved} of {len(chosen)}, identity above 0.6 in {kept} "
            f"(mean {mean:.2f}), pixels outside the mask equal in {exact}.  "
        )
    return lines


if __name__ == "__main__":
    main()
