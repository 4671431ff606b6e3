"""How a domain of emoji edits figures that its training never saw, against the known truth.

    python -m benchmarks.emoji_edits --domain domains/emoji --pictures EMOJI/unseen --out OUT

Every figure of benchmarks.emoji comes in five skin tones. Its second one is edited by
skin_tone=STRENGTH, and the fourth one says which pixels a change of the skin may touch, and how.
Prints a table and writes a sheet of figure, inversion, edit and truth.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editing.diffcam import diff_cam
from diffcam_jax.editor import Editor
from diffcam_jax.faces.panel import titled_grid
from diffcam_jax.faces.photo import read_photo, write_photo
from diffcam_jax.metrics import masks
from diffcam_jax.metrics.pixel import psnr
from diffcam_jax.ops.image import from_unit, to_unit

FROM, TO = 2, 4
SEEN = 8  # levels of 255 from which on a pixel counts as changed
SHOWN = 12


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where two pictures differ visibly [h, w]."""
    return np.abs(before.astype(int) - after.astype(int)).max(-1) >= SEEN


def measures(
    photo: np.ndarray, edited: np.ndarray, mask: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """What an edit of one figure did."""
    meant, done = changed(photo, truth), changed(photo, edited)
    distance = [float(np.abs(x.astype(float) - truth).mean()) for x in (edited, photo)]
    return {
        "IoU of the mask with the true change": float(masks.iou(mask[None], meant[None])[0]),
        "IoU of the change with the true change": float(masks.iou(done[None], meant[None])[0]),
        "share of the skin that changed": float(masks.coverage(done[None], meant[None])[0]),
        "share of the rest that changed": (done & ~meant).sum() / max((~meant).sum(), 1),
        "distance to the truth, relative to before": distance[0] / max(distance[1], 1e-9),
    }


def mapped(editor: Editor, photo: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How well Diff-CAM finds the change between a figure and its truth, no generator between."""
    classifier, pair = editor.networks.classifier, (to_unit(x)[None] for x in (photo, truth))
    chosen = np.array([classifier.names.index("skin_tone")])
    found = np.asarray(diff_cam(classifier, *pair, chosen).mask) >= VARIANTS["product"].window.cam
    value = float(masks.iou(found, changed(photo, truth)[None])[0])
    return {"IoU of Diff-CAM's map of figure and truth with their change": value}


def reconstructions(editor: Editor, photo: np.ndarray) -> dict[str, float]:
    """How well the generator draws a figure anew."""
    drawn = editor.networks.generator(editor.invert(photo)[None], method="synthesis")
    return {"PSNR of the encoder's code": float(psnr(from_unit(drawn), photo[None])[0])}


def main() -> int:
    """Runs the benchmark; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--domain", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--tune", type=int, help="default: the domain's")
    options = parser.parse_args()
    editor = Editor.from_pretrained(options.domain, config=VARIANTS["product"])
    found, rows = [], []
    for path in tqdm(sorted(options.pictures.glob(f"*_{FROM}.png")), "edits", unit="figure"):
        truth = path.with_name(path.name.replace(f"_{FROM}.png", f"_{TO}.png"))
        photo, target = (read_photo(p).pixels for p in (path, truth))
        result = editor.edit(photo, {"skin_tone": options.strength}, tune=options.tune)
        judged = measures(photo, result.image, result.mask, target)
        tuned = {"PSNR after tuning": float(psnr(result.inverted[None], photo[None])[0])}
        found.append(
            mapped(editor, photo, target) | judged | reconstructions(editor, photo) | tuned
        )
        rows.append([photo, result.inverted, result.image, target])
    print("| | mean | median |\n|---|---|---|")
    for name in found[0]:
        values = [one[name] for one in found]
        print(f"| {name} | {statistics.fmean(values):.3f} | {statistics.median(values):.3f} |")
    options.out.mkdir(parents=True, exist_ok=True)
    write_photo(
        options.out / "emoji.png",
        titled_grid(rows[:SHOWN], ["figure", "inversion", "edit", "truth"]),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
