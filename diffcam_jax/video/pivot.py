"""What all frames of a track share: a window, a generator tuned to a few of them, and a step.

A few sharp frames, spread over the track, stand for all: the window holds wherever the edit acts in
one of them, one generator is tuned to them together (Tzaban et al., Stitch it in Time, 2201.08361),
and the factor of the step is the median of those that reach the asked strength in each. Who smiles
in some frames already has less room for more there: factors are for a face with room for all of it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.command.progress import Progress
from diffcam_jax.directions.strength import LEAST_ROOM, NO_ROOM, Reached, room
from diffcam_jax.editing import windows
from diffcam_jax.editing.config import EditConfig
from diffcam_jax.editing.window_edit import draw_window
from diffcam_jax.editor.face_edit import FaceEditor
from diffcam_jax.editor.face_session import FaceSession, is_measured
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.inversion.shared_tuning import tune_together
from diffcam_jax.inversion.tuned_parts import Deltas, tuned_generator
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.image import to_unit
from diffcam_jax.ops.window import Window
from diffcam_jax.video.samples import Sample

# Samples that the strength is measured on.
MEASURED = 3
_tuned = kept_jit(tuned_generator)


@dataclasses.dataclass(frozen=True, eq=False)
class Pivot:
    """What the frames of a track share.

    Attributes:
        window: where the edits act, in cells; None where they act nowhere.
        deltas: of the generator; empty without a tuning.
        factors: of each attribute's step, for the peak of its curve and a face with room for it.
        condition: what edits that are not linear know of the person.
        report: samples, losses, strengths, ready for JSON.
    """

    window: Window | None
    deltas: Deltas
    factors: tuple[float, ...]
    condition: dict[str, np.ndarray]
    report: dict[str, Any]

    def generator(self, network: Network) -> Network:
        """A generator with the person's changes."""
        return _tuned(network, self.deltas) if self.deltas else network


def find_pivot(
    faces: FaceEditor,
    samples: Sequence[Sample],
    names: Sequence[str],
    peaks: Sequence[float],
    config: EditConfig,
    settings: TuningSettings | None,
    raw: bool,
    progress: Progress,
) -> Pivot:
    """Tunes the generator to samples of a track, and reaches the strengths on them.

    Args:
        faces: edits faces.
        samples: at least one.
        names: of the attributes.
        peaks: the strength of each that is farthest from 0.
        config: with a window.
        settings: of the tuning; None leaves the generator as it is.
        raw: take strengths as lengths of the direction's array.
        progress: show a bar while tuning, or tell.

    Raises:
        UserError: see `inversion.tuning.tune`.
    """
    asked, generator = list(peaks), faces.networks.generator
    sessions = [
        FaceSession(faces, one.aligned, one.codes, one.quad, list(names), config, None)
        for one in samples
    ]
    condition = sessions[0].condition
    for session in sessions:
        session.condition = condition
    regions = [session.allowed() for session in sessions]
    drafts = [s.drafted(asked, _undo(asked), may) for s, may in zip(sessions, regions)]
    window = windows.fit_window(np.max(drafts, axis=0), generator.module.cells)
    rooms = np.array([[1.0] * len(asked) if raw else _rooms(s, asked) for s in sessions])
    if window is None or (rooms < LEAST_ROOM).all():
        idle = "nothing may change in these frames" if window is None else NO_ROOM
        report = {"samples": len(samples), "notes": [idle]}
        return Pivot(None, {}, (0.0,) * len(asked), condition, report)
    deltas, told = (
        ({}, None) if settings is None else _tune(generator, samples, window, settings, progress)
    )
    pivot = Pivot(window, deltas, (), condition, {"samples": len(samples), "tuning": told})
    roomiest = np.argsort(-rooms.mean(1), kind="stable")[:MEASURED]
    tuned = pivot.generator(generator)
    reached = [_reached(sessions[i], tuned, window, regions[i], asked, raw) for i in roomiest]
    factors = []
    for j in range(len(asked)):
        full = [
            r[j].factor / rooms[i, j]
            for i, r in zip(roomiest, reached)
            if rooms[i, j] >= LEAST_ROOM
        ]
        factors.append(float(np.median(full)) if full else 0.0)
    notes = {note for session in sessions for note in session.notes}
    notes |= {f"{n}: {one.note}" for r in reached for n, one in zip(names, r) if one.note}
    found = {n: [_number(r[j].reached) for r in reached] for j, n in enumerate(names)}
    report = {**pivot.report, "reached": found, "notes": sorted(notes)}
    return dataclasses.replace(pivot, factors=tuple(factors), report=report)


def _undo(asked: Sequence[float]) -> np.ndarray:
    return np.array([strength < 0 for strength in asked])


def _rooms(session: FaceSession, asked: Sequence[float]) -> list[float]:
    """For each attribute the share of the request for which a sample has room."""
    return [
        room(direction, strength, session.score_before(direction))
        if is_measured(direction)
        else 1.0
        for direction, strength in zip(session.directions, asked, strict=True)
    ]


def _tune(
    generator: Network,
    samples: Sequence[Sample],
    window: Window,
    settings: TuningSettings,
    progress: Progress,
) -> tuple[Deltas, dict[str, Any]]:
    """The changes of the generator, and what the report says of them."""
    codes = np.stack([sample.codes for sample in samples])
    images = to_unit(np.stack([sample.aligned for sample in samples]))
    # As many steps as one photograph gets: more burn the closed mouth in, and teeth get dark.
    deltas, history = tune_together(generator, codes, images, window, settings, progress)
    begun, ended = (
        float(part.mean()) for part in (history[: len(samples)], history[-len(samples) :])
    )
    return deltas, {"begun": _number(begun), "loss": _number(ended), "steps": len(history)}


def _reached(
    session: FaceSession,
    generator: Network,
    window: Window,
    may: np.ndarray,
    asked: list[float],
    raw: bool,
) -> list[Reached]:
    """What each attribute reaches on one sample."""
    place = window.placed()
    first = draw_window(generator, session.codes[None], place)
    may = session.without_missed(may, first, place)
    edit = functools.partial(session.blended, generator, place, _undo(asked), first, may)
    return session.reached(asked, raw, edit)[0]


def save(path: Path, pivot: Pivot) -> None:
    """Writes a pivot, for a run that goes on later."""
    tree = {"deltas": {".".join(p): x for p, x in pivot.deltas.items()}}
    tree["condition"] = {name: np.asarray(x) for name, x in pivot.condition.items()}
    trees.save(
        path,
        {name: part for name, part in tree.items() if part},
        {
            "kind": "pivot",
            "window": pivot.window and pivot.window.numbers,
            "factors": list(pivot.factors),
            "report": pivot.report,
        },
    )


def load(path: Path) -> Pivot | None:
    """Reads a pivot; None where there is none that can be read."""
    try:
        tree, kept = trees.load(path)
        window = None if kept["window"] is None else Window(*(int(x) for x in kept["window"]))
        deltas = {tuple(name.split(".")): x for name, x in tree.get("deltas", {}).items()}
        factors = tuple(float(x) for x in kept["factors"])
        return Pivot(window, deltas, factors, dict(tree.get("condition", {})), kept["report"])
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None


def _number(x: float) -> float | None:
    return round(float(x), 4) if np.isfinite(x) else None
