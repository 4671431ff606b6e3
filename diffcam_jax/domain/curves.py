"""Curves of a domain's trainings: their figures by step, and how long each training took."""

from pathlib import Path
from typing import Any

from diffcam_jax.domain import health
from diffcam_jax.evaluation.document import png
from diffcam_jax.files.json_text import read_lines
from diffcam_jax.files.trees import write_atomically

# Stage -> what its axis shows, and name in the run's numbers -> name in the picture.
SHOWN = {
    "generator": ("distance to the pictures", {"eval/frechet": "thumbnails", "eval/fid": "FID"}),
    "encoder": ("error of codes", {"e/whitened": "seen", "eval/whitened": "unseen"}),
    "classifier": ("accuracy", {"classifier/accuracy": "seen", "eval/accuracy": "unseen"}),
    "deghoster": ("PSNR in dB", {"eval/psnr_fused": "blend", "eval/psnr_restored": "restored"}),
}


def minutes(run: Path) -> float:
    """How long a training has taken so far, interruptions left out."""
    before = last = 0.0
    for record in read_lines(run / health.METRICS):
        seconds = record.get("seconds", last)
        # The clock begins anew with every start.
        before, last = (before + last if seconds < last else before), seconds
    return (before + last) / 60


def draw(folder: Path, file: Path) -> None:
    """Draws the curves of the trainings that have begun into a PNG.

    Args:
        folder: of the domain.
        file: to write.
    """
    begun = [stage for stage in SHOWN if (folder / stage / health.METRICS).exists()]
    count = max(len(begun), 1)

    def draw_all(canvas: Any) -> None:
        places = canvas.subplots(1, count, squeeze=False)[0]
        for axes, stage in zip(places, begun, strict=False):
            _draw_stage(axes, stage, folder / stage)

    write_atomically(file, png(draw_all, (4.0 * count, 3.0), 100))


def _draw_stage(axes: Any, stage: str, run: Path) -> None:
    meaning, names = SHOWN[stage]
    for name, label in names.items():
        if points := health.series(run, name):
            axes.plot(*zip(*points, strict=True), label=label)
    axes.set_title(f"{stage}, {minutes(run):.0f} min")
    axes.set_xlabel("step")
    axes.set_ylabel(meaning)
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend()
