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
from jaxtyping import Float, UInt8

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.command.progress import Progress
from diffcam_jax.directions.strength import LEAST_ROOM, NO_ROOM, room
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
from diffcam_jax.video.tracks import Track

# Frames that stand for a track, and how many of them the strength is measured on.
SAMPLES, MEASURED = 4, 3
# Steps of the tuning of all samples, relative to those of one photograph.
TURNS = 2
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


def sample_rows(track: Track, count: int = SAMPLES) -> list[int]:
    """The sharpest frame of each of `count` equal parts of a track, as rows of it, rising."""
    rows = np.flatnonzero((track.sharpness > 0) & (track.weight >= track.weight.max()))
    parts = np.array_split(rows, min(count, len(rows)))
    return [int(part[np.argmax(track.sharpness[part])]) for part in parts]


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A frame's face: aligned uint8 [s, s, 3], its code [n, k] and its place."""

    aligned: UInt8[np.ndarray, "s s 3"]
    codes: Float[np.ndarray, "n k"]
    quad: Float[np.ndarray, "4 2"]


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
    asked, undo = list(peaks), np.array([peak < 0 for peak in peaks])
    sessions, regions, wanted = [], [], None
    for sample in samples:
        session = FaceSession(
            faces, sample.aligned, sample.codes, sample.quad, list(names), config, None
        )
        sessions.append(session)
        regions.append(session.allowed())
        drafted = session.drafted(asked, undo, regions[-1])
        wanted = drafted if wanted is None else np.maximum(wanted, drafted)
    generator = faces.networks.generator
    window = windows.fit_window(wanted, generator.module.cells)
    condition = sessions[0].condition
    report: dict[str, Any] = {"samples": len(samples)}
    rooms = (
        np.ones((len(sessions), len(asked)))
        if raw
        else np.array([_rooms(s, asked) for s in sessions])
    )
    idle = "nothing may change in these frames" if window is None else NO_ROOM
    if window is None or (rooms < LEAST_ROOM).all():
        return Pivot(None, {}, (0.0,) * len(asked), condition, {**report, "notes": [idle]})
    deltas: Deltas = {}
    if settings is not None:
        codes = np.stack([sample.codes for sample in samples])
        images = to_unit(np.stack([sample.aligned for sample in samples]))
        steps = TURNS * settings.steps * len(samples) // SAMPLES
        given = generator, codes, images, window, settings.with_steps(max(steps, 1))
        deltas, history = tune_together(*given, progress)
        begun, ended = (
            float(history[part].mean())
            for part in (slice(0, len(samples)), slice(-len(samples), None))
        )
        report["tuning"] = {"begun": _number(begun), "loss": _number(ended), "steps": len(history)}
    pivot = Pivot(window, deltas, (), condition, report)
    tuned, place = pivot.generator(generator), placed(window)
    roomiest = np.argsort(-rooms.mean(1), kind="stable")[:MEASURED]
    found_for = []
    for i in roomiest:
        session, session.condition = sessions[i], condition
        first = draw_window(tuned, session.codes[None], place)
        may = session.without_missed(regions[i], first, place)
        edit = functools.partial(session.blended, tuned, place, undo, first, may)
        found_for.append(session.reached(asked, raw, edit)[0])
    factors = []
    for j, name in enumerate(names):
        full = [
            r[j].factor / rooms[i, j]
            for i, r in zip(roomiest, found_for)
            if rooms[i, j] >= LEAST_ROOM
        ]
        factors.append(float(np.median(full)) if full else 0.0)
        report.setdefault("reached", {})[name] = [_number(r[j].reached) for r in found_for]
    notes = {note for session in sessions for note in session.notes}
    notes |= {f"{n}: {one.note}" for r in found_for for n, one in zip(names, r) if one.note}
    report["notes"] = sorted(notes)
    return dataclasses.replace(pivot, factors=tuple(factors), report=report)


def _rooms(session: FaceSession, asked: Sequence[float]) -> list[float]:
    """For each attribute the share of the request for which a sample has room."""
    return [
        room(direction, strength, session.score_before(direction))
        if is_measured(direction)
        else 1.0
        for direction, strength in zip(session.directions, asked, strict=True)
    ]


def placed(window: Window) -> Window:
    """A window whose place is an argument of programs, and its shape a part of them."""
    return Window(np.int32(window.top), np.int32(window.left), window.height, window.width)


def save(path: Path, pivot: Pivot) -> None:
    """Writes a pivot, for a run that goes on later."""
    tree = {"deltas": {".".join(p): x for p, x in pivot.deltas.items()}}
    tree["condition"] = {name: np.asarray(x) for name, x in pivot.condition.items()}
    window = pivot.window and [
        int(x)
        for x in (pivot.window.top, pivot.window.left, pivot.window.height, pivot.window.width)
    ]
    trees.save(
        path,
        {name: part for name, part in tree.items() if part},
        {
            "kind": "pivot",
            "window": window,
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
