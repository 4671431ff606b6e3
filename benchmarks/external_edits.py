"""How well edits that were made elsewhere are taken into their photographs.

    python -m benchmarks.external_edits [--photos FOLDER] [--limit 5] [--evidence]

Every edit of `made_up_edits` and none, saved in every way there, of each photograph. The table has
a row for each way of saving: the largest error of the registration at the corners of the face in
pixels of the photograph (mean / worst), the share of the truly changed pixels in which the edit
counts at least half (mean / worst), the share of the other pixels that stay exactly the
photograph's (mean / worst), the tint of those that the mask holds all the same (mean over them of
result less photograph, the largest channel, in levels; mean / worst), and the share of the picture
that is taken where nothing was edited (worst).

`--evidence` compares instead what could tell edits from noise: the area under the curve of
receivers over the pixels of the head, changed against unchanged, for pixels alone, features alone,
the maps of all classes, and the geometric means.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.made_up_edits import EDITS, SAVINGS, changed
from benchmarks.photographs import photographs
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.editing.diffcam import activation_map, channel_weights, delta_features
from diffcam_jax.editing.window_edit import feathered
from diffcam_jax.editor import Editor
from diffcam_jax.editor.external_edit import ExternalEdit
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align, registration, views
from diffcam_jax.faces.selection import find_quads
from diffcam_jax.ops.image import resize

COLUMNS = "| saved | edits | refused | error, px | covered | kept exactly | tint | taken of none |"


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, help="folder of photographs (default: shipped ones)")
    parser.add_argument("--limit", type=int, default=5, help="number of photographs, from the last")
    parser.add_argument("--evidence", action="store_true", help="compare kinds of evidence")
    options = parser.parse_args()
    editor = Editor.from_pretrained()
    chosen = list(photographs(options.photos).values())[-options.limit :]
    rows = {saving: [] for saving in SAVINGS}
    for pixels, aligned in tqdm(chosen, unit="photo", disable=None):
        quad = find_quads(pixels, aligned=aligned)[0]
        for edit in (*EDITS, ""):
            edited = EDITS[edit](pixels, quad) if edit else pixels
            for saving in SAVINGS:
                given = editor, pixels, quad, aligned, edited, saving
                rows[saving].append(separation(*given) if options.evidence else measure(*given))
    print("\n".join(table(rows) if not options.evidence else comparison(rows)))


def measure(editor, pixels, quad, aligned, edited, saving) -> dict[str, float]:
    """The numbers of one edit; NaN where one has no meaning, and no error where it is refused."""
    picture, truth = SAVINGS[saving](edited, quad)
    try:
        result = editor.blend(pixels, picture, aligned=aligned)
    except UserError as error:
        tqdm.write(f"{saving}: {error}")
        return {"refused": 1.0}
    found = registration.register(pixels, picture, quad).matrix
    corners = np.c_[quad.mean(0) + 0.7 * (quad - quad.mean(0)), np.ones(4)].T
    error = np.abs(np.linalg.inv(found) @ truth @ corners - corners)[:2].max()
    weight = align.photo_mask(result.mask, quad, *pixels.shape[:2])
    acted, same = changed(pixels, edited), (pixels == edited).all(-1)
    moved = result.image.astype(np.float32) - pixels
    if not acted.any():
        return {"error": error, "none": float((weight > 0).mean())}
    held = same & (weight > 0)
    return {
        "error": error,
        "covered": float((weight >= 0.5)[acted].mean()),
        "kept": float((moved == 0).all(-1)[same].mean()),
        "tint": float(np.abs(moved[held].mean(0)).max()) if held.any() else 0.0,
    }


def table(rows: dict[str, list[dict[str, float]]]) -> list[str]:
    """The numbers in Markdown, a row for each way of saving."""
    lines = [COLUMNS, "|---" * (COLUMNS.count("|") - 1) + "|"]
    for saving, found in rows.items():

        def of(key: str, form: str, worst, found=found) -> str:
            values = [row[key] for row in found if key in row]
            if not values:
                return "-"
            return f"{format(np.mean(values), form)} / {format(worst(values), form)}"

        none = max((row["none"] for row in found if "none" in row), default=np.nan)
        refused = sum("refused" in row for row in found)
        cells = [saving, str(len(found)), str(refused), of("error", ".2f", max)]
        cells += [of("covered", ".1%", min), of("kept", ".2%", min), of("tint", ".1f", max)]
        lines.append(f"| {' | '.join([*cells, f'{none:.2%}'])} |")
    return lines


def separation(editor, pixels, quad, aligned, edited, saving) -> dict[str, float]:
    """The area under the curve of each kind of evidence; empty where nothing was edited."""
    acted = changed(pixels, edited)
    if not acted.any():
        return {}
    picture, _ = SAVINGS[saving](edited, quad)
    faces = editor._faces
    one = ExternalEdit(faces, pixels, picture, quad, (), editor.config, None)
    image = align.crop(pixels, quad, one.side)
    place = registration.register(pixels, picture, quad)
    drawn, softened, _, _ = one.matched(image, place)
    may, _, _ = one.looked(np.rint(image * 255).astype(np.uint8))
    before, after = (jnp.asarray(x[None] * 2 - 1) for x in (softened, drawn))
    kinds = _kinds(faces.networks.classifier, before, after, one.size)
    to_photo = views.frame(quad, one.size)
    marked = (np.stack([acted, (pixels != edited).any(-1)] * 2, -1)[..., :3] * 255).astype(np.uint8)
    shown, _ = views.view(marked, to_photo, one.size)
    inside = may[0] > 0.5
    return {
        name: area(np.asarray(x)[inside & (shown[..., 0] > 0.9)],
                   np.asarray(x)[inside & (shown[..., 1] < 0.1)])
        for name, x in kinds.items()
    }  # fmt: skip


def _kinds(classifier, before, after, size: int) -> dict[str, jax.Array]:
    before, after = (resize(x, (size, size), "area") for x in (before, after))
    pixels = jnp.abs(feathered(after - before, size // 64)).mean(-1)[0]
    delta = delta_features(classifier, before, after)
    features = resize(jnp.sqrt(jnp.square(delta).mean(-1)), (size, size), "bilinear")[0]
    maps = 0.0
    for sign in (1, -1):
        _, h = classifier.network(sign * delta, method="head")
        beta = channel_weights(classifier, h)
        weighted = jax.nn.relu(activation_map(h, beta)) / jnp.abs(beta).sum(-1)[..., None, None]
        maps = maps + resize(weighted.sum(1), (size, size), "bilinear")[0]
    return {
        "pixels": pixels,
        "features": features,
        "maps of all classes": maps,
        "pixels and features": jnp.sqrt(pixels * features),
        "pixels and maps": jnp.sqrt(pixels * maps),
    }


def area(changed: np.ndarray, same: np.ndarray) -> float:
    """Chance that a changed place has more evidence than an unchanged one."""
    ranks = np.concatenate([changed, same]).argsort().argsort()[: len(changed)]
    return float((ranks.mean() - (len(changed) - 1) / 2) / len(same))


def comparison(rows: dict[str, list[dict[str, float]]]) -> list[str]:
    """The areas in Markdown, a row for each way of saving."""
    names = next(row for found in rows.values() for row in found if row)
    lines = [f"| saved | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for saving, found in rows.items():
        means = [np.nanmean([row[name] for row in found if row]) for name in names]
        lines.append(f"| {saving} | {' | '.join(f'{x:.4f}' for x in means)} |")
    return lines


if __name__ == "__main__":
    keep_compiled_programs()
    main()
