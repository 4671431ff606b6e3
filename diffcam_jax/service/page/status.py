"""What the page tells while an edit runs, as HTML that a screen reader reads out."""

import html
from typing import Any

from diffcam_jax.editor.results import reached
from diffcam_jax.service.estimate import Progress

# Stage of an edit -> what people are told.
_STAGES = {
    "find faces": "Looking for faces",
    "invert": "Finding the face among those that the generator draws",
    "look": "Looking at what the photograph shows",
    "draft": "Finding where the edit acts",
    "tuning": "Fitting the generator to the photograph",
    "blend": "Reaching the strength, and blending",
    "edit": "Editing the frames of the clip",
    "write": "Writing the pictures",
}

_PARTS = ("look", "tune", "edit")  # of the seconds of a clip
_MOST_DAMAGED = 3  # lines about damaged frames


def idle(text: str) -> str:
    """A sentence."""
    return f'<div class="status" role="status">{html.escape(text)}</div>'


def problem(text: str) -> str:
    """What went wrong, read out at once."""
    return f'<div class="status problem" role="alert">{html.escape(text)}</div>'


def waiting(place: int, seconds: float | None) -> str:
    """A job that waits.

    Args:
        place: how many are before it.
        seconds: until it has ended.
    """
    before = "yours is next" if place == 0 else f"{place} before yours"
    return _bar(f"Waiting for the machine, {before}", 0.0, seconds)


def running(progress: Progress) -> str:
    """A job that runs."""
    text = _STAGES.get(progress.stage, progress.stage)
    if progress.steps > 1:
        text += f", step {progress.done + 1} of {progress.steps}"
    return _bar(text, progress.share, progress.seconds_left)


def step(done: int, photographs: int, told: str) -> str:
    """How far a batch is.

    Args:
        done: photographs that are done.
        photographs: of the batch.
        told: of the photograph that is being edited, HTML.
    """
    text = f"Photograph {done + 1} of {photographs}"
    return _bar(text, done / photographs, None) + told


def done(report: dict[str, Any], seconds: float) -> str:
    """How an edit came out."""
    lines = reached(report) or ["The edit has been blended in."]
    share = report["untouched_share"]
    lines.append(f"{share:.1%} of the photograph is unchanged, pixel for pixel. {seconds:.1f} s.")
    return _list(lines)


def clip_done(report: dict[str, Any]) -> str:
    """How the edit of a clip came out."""
    lines = [note for face in report["faces"] for note in face["notes"]]
    lines += [*report["damaged"][:_MOST_DAMAGED], *report["notes"]]
    lines.append(f"{report['frames']} frames, {sum(report['seconds'][s] for s in _PARTS):.1f} s.")
    return _list(list(dict.fromkeys(lines)))


def _list(lines: list[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<div class="status" role="status"><ul>{items}</ul></div>'


def _bar(text: str, share: float, seconds: float | None) -> str:
    left = "" if seconds is None else f" · about {max(round(seconds), 1)} s left"
    return (
        f'<div class="status" role="status"><label>{html.escape(text)}{left}'
        f'<progress max="1" value="{share:.3f}"></progress></label></div>'
    )
