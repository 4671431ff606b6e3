"""Sources of directions in the whole product: what their edits of photographs reach and keep.

    python -m benchmarks.direction_sources --directions svm.safetensors flow/ --out DIR
        [--attributes smiling old] [--photos 8] [--tune 7]

Each source edits the same photographs at strength 1, with tuning, regions and masks as always; the
shipped directions are always among them. A source should have been measured
(`python -m diffcam_jax.directions measure`), so that 1 means the same in each. Writes a table and,
for each attribute, a sheet with a column for each source.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.out_of_domain_table import ARRIVED
from benchmarks.photographs import photographs
from diffcam_jax.editor import Editor
from diffcam_jax.faces.panel import titled_grid
from diffcam_jax.faces.photo import write_photo
from diffcam_jax.metrics.identity import Identity

HEAD = ("attribute", "source", "edited", "reached", "arrived", "identity", "mask")


def edits(editor: Editor, name: str, photos: dict, tune: int, identity: Identity) -> list[dict]:
    """Edits the photographs, and measures those with room for it."""
    found = []
    for pixels, aligned in tqdm(photos.values(), name, unit="photograph", leave=False):
        face = editor.edit(pixels, {name: 1.0}, aligned=aligned, tune=tune).faces[0]
        told = face.report["strengths"][name]
        before, after = identity.embed([face.aligned, face.fused])
        found.append(
            {
                "fused": face.fused,
                "room": told["factor"] != 0,
                "reached": told["reached"],
                "identity": float(before @ after),
                "mask": face.report["mask_area"],
            }
        )
    return found


def row(name: str, source: str, found: list[dict]) -> str:
    """A line of the table."""
    some = [one for one in found if one["room"]]
    reached = [one["reached"] for one in some if one["reached"] is not None]
    cells = [name, source, f"{len(some)} of {len(found)}"]
    cells.append(f"{statistics.median(reached):.2f}" if reached else "unknown")
    cells.append(f"{np.mean([x > ARRIVED for x in reached]):.0%}" if reached else "unknown")
    cells += [f"{statistics.fmean(one[key] for one in some):.2f}" for key in ("identity", "mask")]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Runs the benchmark; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--directions", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--attributes", nargs="+", default=["smiling", "old", "eyeglasses", "beard"]
    )
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--tune", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    photos = dict(list(photographs().items())[-options.photos :])
    sources = {"shipped": None} | {path.stem: path for path in options.directions}
    identity, measured = Identity(batch=2), {}
    for source, path in sources.items():
        editor = Editor.from_pretrained("ffhq", directions=path)
        for name in options.attributes:
            measured[name, source] = edits(editor, name, photos, options.tune, identity)
            print(row(name, source, measured[name, source]), flush=True)
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for name in options.attributes:
        lines += [row(name, source, measured[name, source]) for source in sources]
        rows = [
            [measured[name, source][i]["fused"] for source in sources] for i in range(len(photos))
        ]
        write_photo(options.out / f"{name}.png", titled_grid(rows, list(sources)))
    (options.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), f"look at {options.out}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
