"""Edits of faces behind what a generator cannot draw: does the edit arrive, does the rest stay?

    python -m benchmarks.out_of_domain --out docs/out_of_domain [--attributes smiling,beard]
        [--only 'cap_*',drawn] [--limit N] [--options tune=40 raw_strength=True]

Every picture of `benchmarks.out_of_domain_set`, one edit of strength 1 for each attribute, with the
settings that `Editor.edit` has by default or `--options` say. An edit is written down as soon as it
is measured: a run that was interrupted goes on. Needs the `bench` extra.
"""

import argparse
import ast
import fnmatch
import functools
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.out_of_domain_set import Composite, bases, composites, enlarged
from benchmarks.out_of_domain_table import (
    CHANGED,
    PROTECTED,
    ROOM,
    Record,
    append,
    load,
    summary,
    table,
)
from benchmarks.photographs import ATTRIBUTES
from diffcam_jax.command.allocator import collect_rarely, keep_freed_memory
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.editor.editor import Editor
from diffcam_jax.editor.results import FaceEdit
from diffcam_jax.errors import UserError
from diffcam_jax.faces import scorers
from diffcam_jax.faces.align import crop, photo_mask
from diffcam_jax.faces.evidence import parse
from diffcam_jax.faces.panel import labelled_row, stack_rows
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.metrics.perceptual import Lpips
from diffcam_jax.nn.conventions import CLASSES

CROP = 512  # pixels; the side at which results are scored and shown


@functools.cache
def _identity() -> Identity:
    return Identity(batch=1)


@functools.cache
def _lpips(net: str) -> Lpips:
    return Lpips(net, batch=1)


def measure(
    editor: Editor,
    picture: Composite,
    attribute: str,
    options: Mapping[str, Any],
) -> tuple[Record, np.ndarray]:
    """One edit of strength 1.

    Args:
        editor: that edits.
        picture: to be edited.
        attribute: key of `ATTRIBUTES`.
        options: further arguments of `Editor.edit`.

    Returns:
        The numbers, and the result as uint8 [512, 512, 3]. What could not be measured (no face
        found, no object, no tuned window) is NaN.
    """
    start = time.perf_counter()
    result = editor.edit(picture.pixels, {attribute: 1.0}, aligned=True, **options)
    seconds = time.perf_counter() - start
    face, pair = result.faces[0], (picture.pixels, result.image)
    crops = np.stack([np.round(crop(p, face.quad, CROP) * 255).astype(np.uint8) for p in pair])
    own = ATTRIBUTES[attribute]
    before, after = map(float, scorers.score(crops, [own], batch_size=2)[own])
    moved = getattr(editor.directions[attribute], "move", None)
    usual = float("nan") if moved is None else float(moved)
    changed = np.abs(pair[0].astype(np.int16) - pair[1]).max(axis=-1) > CHANGED
    outside = photo_mask(face.paste_mask, face.quad, *picture.mask.shape) == 0
    record = {
        "group": picture.group,
        "attribute": attribute,
        "before": before,
        "after": after,
        "usual": usual,
        "retention": (after - before) / usual,
        "room": before < ROOM[attribute],
        "identity": float(_identity()(crops[:1], crops[1:])[0]),
        "object_changed": _share(changed, picture.mask),
        "protected_changed": _share(changed, protected(picture)),
        "exact": bool((pair[0] == pair[1]).all(axis=-1)[outside].all()),
        **reconstruction(face),
        "seconds": round(seconds, 3),
    }
    return record, crops[1]


def protected(picture: Composite) -> np.ndarray:
    """Where nothing should change, bool [1024, 1024]: the object, and all that is `PROTECTED`."""
    labels = parse(picture.pixels[None], batch_size=1)[0][0]
    return picture.mask | enlarged(np.isin(labels, [CLASSES.index(name) for name in PROTECTED]))


def reconstruction(face: FaceEdit) -> dict[str, float]:
    """LPIPS of inversion and photograph in the window that was tuned; NaN without one."""
    window = getattr(face, "window_pixels", None)
    if window is None:
        return {"lpips_vgg": float("nan"), "lpips_alex": float("nan")}
    top, bottom, left, right = window
    pair = [p[None, top:bottom, left:right] for p in (face.inverted, face.aligned)]
    return {f"lpips_{net}": float(_lpips(net)(*pair)[0]) for net in ("vgg", "alex")}


def _share(changed: np.ndarray, where: np.ndarray) -> float:
    return float(changed[where].mean()) if where.any() else float("nan")


def select(pictures: Mapping[str, Composite], only: str, limit: int | None) -> dict[str, Composite]:
    """The pictures that are asked for.

    Args:
        pictures: of the set.
        only: groups, and names or patterns such as cap_*, with commas between; "" takes all.
        limit: how many to take at most.

    Raises:
        UserError: a pattern matches nothing.
    """
    chosen: set[str] = set()
    for pattern in filter(None, only.split(",")):
        found = {name for name, picture in pictures.items() if picture.group == pattern}
        found |= set(fnmatch.filter(pictures, pattern))
        if not found:
            raise UserError(f"no picture is called {pattern}; there are {', '.join(pictures)}")
        chosen |= found
    kept = [name for name in pictures if name in chosen or not only]
    return {name: pictures[name] for name in kept[:limit]}


def parsed(options: list[str]) -> dict[str, Any]:
    """["refine=30", "method=both"] as keyword arguments; a value is a Python literal or a word.

    Raises:
        UserError: one has no equals sign.
    """
    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"--options {option}: write key=value")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def shown(out: Path, name: str, picture: Composite, tile: int) -> Image.Image:
    """The photograph and every result that there is so far, beside each other."""
    results = {name: picture.pixels}
    for attribute in ATTRIBUTES:
        path = out / "results" / f"{name}.{attribute}.jpg"
        if path.exists():
            results[attribute] = np.asarray(Image.open(path))
    return labelled_row(results, tile)


def main() -> None:
    """Runs the benchmark and prints its table; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for numbers.jsonl, table.md and sheets")
    add("--attributes", default=",".join(ATTRIBUTES), metavar="A,B")
    add("--only", default="", metavar="NAME,...", help="names, patterns ('cap_*') or groups")
    add("--limit", type=int, metavar="N", help="the first N of the pictures")
    add("--options", nargs="*", default=[], metavar="KEY=VALUE", help="for Editor.edit")
    arguments = parser.parse_args()
    out, options = arguments.out, parsed(arguments.options)
    attributes = arguments.attributes.split(",")
    if unknown := sorted(set(attributes) - set(ATTRIBUTES)):
        known = ", ".join(ATTRIBUTES)
        raise UserError(f"{', '.join(unknown)} is not measured; choose from {known}")
    numbers = out / "numbers.jsonl"
    (out / "results").mkdir(parents=True, exist_ok=True)
    records = load(numbers)
    if any(record["options"] != options for record in records):
        raise UserError(f"{numbers} was measured with other options; give another folder")
    done = {(record["picture"], record["attribute"]) for record in records}
    keep_freed_memory()
    collect_rarely()
    keep_compiled_programs()
    pictures = select(bases() | composites(), arguments.only, arguments.limit)
    editor = Editor.from_pretrained("ffhq")
    for name, picture in pictures.items():
        for attribute in attributes:
            if (name, attribute) in done:
                continue
            record, pixels = measure(editor, picture, attribute, options)
            Image.fromarray(pixels).save(out / "results" / f"{name}.{attribute}.jpg", quality=95)
            records.append({"picture": name, **record, "options": options})
            append(numbers, records[-1])
            told = {k: round(v, 3) for k, v in record.items() if isinstance(v, float)}
            print(name, attribute, *(f"{k}={v:g}" for k, v in told.items()), flush=True)
        # What is not in the public domain is for looking, not for committing: git ignores ffhq*.
        prefix = "" if picture.public_domain else "ffhq_"
        row = shown(out, name, picture, CROP)
        row.save(out / f"{prefix}{name}.jpg", quality=85)
    free = {name: picture for name, picture in pictures.items() if picture.public_domain}
    if free:
        rows = [shown(out, name, picture, CROP // 2) for name, picture in free.items()]
        stack_rows(rows).save(out / "public_domain.jpg", quality=85)
    command = f"python -m benchmarks.out_of_domain {shlex.join(sys.argv[1:])}"
    (out / "table.md").write_text(table(records, command))
    print("\n".join(summary(records)), f"\nlook at {out}")


if __name__ == "__main__":
    main()
