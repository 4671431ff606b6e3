"""Clips, edited: how steady, how much of the person is kept, how long a frame takes.

    python -m benchmarks.clips --out DIR [--scenes speaks,hidden] [--attribute smiling=1]
        [--alone 8]
    python -m benchmarks.clips --out DIR --scenes weeps,smiles,cut,drives

Each scene of `benchmarks.clip_truth` is written as a camera would, those of `benchmarks.clip_real`
are fetched. They are edited without loss, and compared with themselves. `--alone N` also edits N
frames as photographs, one by one, which is what a clip editor has to beat: the same measures, of
the same frames, those from the middle or, of real clips, those that the edit changes most. A scene
that is done is not done again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clip_real, clip_truth
from diffcam_jax.command.compilation import keep_compiled_programs
from diffcam_jax.editing.config import VARIANTS
from diffcam_jax.editor.editor import Editor
from diffcam_jax.faces import align
from diffcam_jax.faces.shared import face_landmarker
from diffcam_jax.files.domain import FACES
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.video import curves, measures
from diffcam_jax.video.clip_edit import ClipRequest, edit_clip
from diffcam_jax.video.opening import open_clip, read_frames


def measured(
    editor: Editor, name: str, triples: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """The measures of (original, result, touched) frames."""
    steady = measures.steadiness(triples)
    faces: tuple[list, list] = ([], [])
    for original, result, _ in triples:
        found = face_landmarker().detect(original)
        if found:
            quad = align.ffhq_quad(found[0].points)
            for pictures, frame in zip(faces, (original, result), strict=True):
                pictures.append(editor.crop(frame, quad))
    identity = Identity(batch=4)
    embedded = [identity.embed(pictures) for pictures in faces]
    local, overall = measures.consistency(*embedded)
    direction = editor.directions[name]
    scores = [[editor.faces.score(picture, direction) for picture in part] for part in faces]
    rise = (np.array(scores[1]) - np.array(scores[0])) / direction.move
    return {
        **{field: round(value, 3) for field, value in steady._asdict().items()},
        "tl_id": round(local, 3),
        "tg_id": round(overall, 3),
        "identity": round(float(np.nanmean((embedded[0] * embedded[1]).sum(1))), 3),
        "rise": round(float(np.nanmean(rise)), 3),
        "rise_spread": round(float(np.nanstd(rise)), 3),
    }


def compared(clip: Path, result: Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frames of a clip and its result, and where their stored samples differ."""
    pairs = zip(read_frames(open_clip(clip)), read_frames(open_clip(result)), strict=True)
    for before, after in pairs:
        same = [a == b for a, b in zip(before.native.planes, after.native.planes, strict=True)]
        height, width = before.pixels.shape[:2]
        touched = np.zeros((height, width), bool)
        for plane in same:
            factor = [-(-side // part) for side, part in zip((height, width), plane.shape)]
            touched |= ~plane.repeat(factor[0], 0).repeat(factor[1], 1)[:height, :width]
        yield before.pixels, after.pixels, touched


def run(editor: Editor, scene: str, asked: str, alone: int, out: Path) -> dict[str, Any]:
    """Makes or fetches a scene, edits and measures it."""
    if scene in clip_real.CLIPS:
        clip = clip_real.fetch(scene, out)
    elif not (clip := out / f"{scene}.mp4").exists():
        clip_truth.write(clip, clip_truth.frames(editor, clip_truth.SCENES[scene]))
    result = out / "edited" / f"{scene}.mp4"
    result.parent.mkdir(parents=True, exist_ok=True)
    wanted = curves.parse([asked], editor.directions)
    request = ClipRequest(wanted, VARIANTS["product"], lossless=True)
    report = edit_clip(editor, open_clip(clip), request, result, out / "work")
    triples = list(compared(clip, result))
    name = next(iter(wanted))
    row = {"scene": scene, "frames": len(triples), "seconds": report["seconds"]}
    row["clip"] = measured(editor, name, triples)
    if alone:
        first = (len(triples) - alone) // 2
        if scene in clip_real.CLIPS:  # may show nobody, or somebody who smiles already
            areas = [touched.sum() for _, _, touched in triples]
            first = int(np.argmax(np.convolve(areas, np.ones(alone), "valid")))
        some = triples[first : first + alone]
        pictures, seconds = [], []
        for original, _, _ in some:
            began = time.perf_counter()
            strengths = {name: wanted[name].peak}
            image = editor.edit(original, strengths, tune=FACES.tune_quickly, cache=False).image
            seconds.append(time.perf_counter() - began)
            pictures.append((original, image, (image != original).any(-1)))
        row["some_of_clip"] = measured(editor, name, some)
        row["alone"] = measured(editor, name, pictures)
        row["alone"]["seconds"] = round(float(np.median(seconds)), 3)
        row["ratio"] = round(report["seconds"]["frame"] / float(np.median(seconds)), 3)
    return row


def main() -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", default=",".join(clip_truth.SCENES))
    parser.add_argument("--attribute", default="smiling=1")
    parser.add_argument("--alone", type=int, default=8)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    keep_compiled_programs(ahead=True)
    editor, path = Editor.from_pretrained("ffhq"), options.out / "measures.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = {row["scene"] for row in map(json.loads, lines)}
    for scene in options.scenes.split(","):
        if scene not in done:
            row = run(editor, scene, options.attribute, options.alone, options.out)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row, indent=1))
    print(f"look at {options.out}/edited/*_sheet.png; the numbers are in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
