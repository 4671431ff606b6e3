"""One face edited the product's way: look, draft, tune, reach the strength, blend.

    look    what the photograph shows where, and so what may change          editing.regions
    draft   Diff-CAM of the untuned pair says where the edit acts             window_edit.draft
    tune    the generator is fitted to the photograph in that window          inversion.tuning
    reach   the step's factor, until the result's own score has moved         directions.strength
    blend   Diff-CAM of the tuned pair, hard core, rim, Eq. 5                 window_edit

The same photograph, edited again, finds its tuned numbers in the cache; an edit elsewhere goes on
from them in a window of its own.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.command.progress import tell
from diffcam_jax.directions.acts import known
from diffcam_jax.directions.edits import Edit, measured, steps
from diffcam_jax.directions.strength import NO_ROOM, Reached, has_room, reach
from diffcam_jax.editing import regions, window_edit, windows
from diffcam_jax.editing.compose import refine
from diffcam_jax.editing.config import WindowConfig
from diffcam_jax.editing.decomposition import domain_mask
from diffcam_jax.editing.window_edit import Attributes, WindowEdit, draw_window, edit_window
from diffcam_jax.editor.face_tuning import tuned_window
from diffcam_jax.editor.results import FaceEdit, judged
from diffcam_jax.faces import scorers
from diffcam_jax.faces.shared import face_landmarker, hand_landmarker
from diffcam_jax.inversion.tuned_parts import tuned_generator
from diffcam_jax.ops.image import from_unit, resize, to_unit
from diffcam_jax.ops.window import Window

# Diff-CAM's value from which on a place belongs into the window, and the least area of such places.
DRAFT, LEAST_AREA = 0.45, 50
_tuned = kept_jit(tuned_generator)
_resized = kept_jit(resize, static_argnames=("size", "method"))
_domain_mask = kept_jit(domain_mask, static_argnames="size")


class FaceSession:
    """One face and the attributes that are asked for; what is computed once is kept."""

    def __init__(self, editor, aligned, codes, quad, names, config, user_mask) -> None:
        self.editor, self.aligned, self.codes, self.quad = editor, aligned, codes, quad
        networks = editor.networks
        self.generator, self.classifier = networks.generator, networks.classifier
        self.names, self.user_mask = names, user_mask
        self.directions = [editor.directions[name] for name in names]
        self.classes = np.array([self.classifier.names.index(name) for name in names], np.int32)
        self.size = min(config.classifier_size, aligned.shape[0])
        window = blend_of(config.window, self.directions).at(self.size)
        self.config = dataclasses.replace(config, window=window)
        self.image = jax.device_put(to_unit(aligned)[None])
        self.kept: dict[str, float] = {}
        self.domain: np.ndarray | None = None
        self.before: dict[str, float] = {}
        self.notes: list[str] = []

    def run(self, asked, settings, raw, cache, progress) -> FaceEdit:
        """The whole way; arguments are those of `FaceEditor`, `asked` its strengths."""
        began = time.perf_counter()
        undo = np.array([strength < 0 for strength in asked])
        tell(progress, "look")
        may = self.allowed()
        if not raw and not any(map(self.has_room, self.directions, asked)):
            self.notes += [f"{name}: {NO_ROOM}" for name in self.names]
            return self.unchanged(asked, time.perf_counter() - began)
        looked = time.perf_counter()
        tell(progress, "draft")
        wanted = self.drafted(asked, undo, may)
        window = windows.fit_window(wanted, self.generator.module.cells)
        if window is None:
            return self.unchanged(asked, looked - began)
        drafted = time.perf_counter()
        generator, told = self.generator, None
        if settings is not None:
            entry, told = tuned_window(
                self.generator, self.aligned, self.codes, window, settings, cache, progress
            )
            window, notes = entry.window, told.pop("notes")
            self.notes += notes
            generator = _tuned(generator, entry.deltas)
        window = window.placed()
        tuned = time.perf_counter()
        tell(progress, "blend")
        first = draw_window(generator, self.codes[None], window)
        may = self.without_missed(may, first, window)
        edit = functools.partial(self.blended, generator, window, undo, first, may)
        reached, (result, last) = self.reached(asked, raw, edit)
        blended = time.perf_counter()
        seconds = {"look": looked - began, "draft": drafted - looked, "tune": tuned - drafted}
        seconds["blend"] = blended - tuned
        report = {
            "strengths": {n: _told(r) for n, r in zip(self.names, reached, strict=True)},
            "tuning": told,
            "kept": self.kept,
            "notes": [
                *self.notes,
                *(f"{n}: {r.note}" for n, r in zip(self.names, reached) if r.note),
            ],
            "classifier": judged(self.names, self.classifier.names, np.asarray(result.logits)[0]),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
        }
        return self.outcome(result, first, last, window, [r.factor for r in reached], report)

    def has_room(self, direction: Edit, asked: float) -> bool:
        """Whether the photograph can still move; a face or direction without a score can."""
        if not is_measured(direction):
            return True
        before = self.score_before(direction)
        return not np.isfinite(before) or has_room(direction, asked, before)

    def score_before(self, direction: Edit) -> float:
        """The photograph's own score, measured once."""
        if direction.name not in self.before:
            self.before[direction.name] = self.editor.score(self.aligned, direction)
        return self.before[direction.name]

    def allowed(self) -> np.ndarray:
        """Where each attribute may act [r, v, v]: by parsing, covered mouths and domain."""
        domain = self.editor.domain
        inside = domain.inside(self.size)
        if domain.parsing:
            may, shapes = self.parsed()
            shapes, may = (
                _resized(x, size=(self.size, self.size), method="area") for x in (shapes[None], may)
            )
        else:
            may = np.ones((len(self.names), 1, 1), np.float32)
            shapes = (inside == 0).astype(np.float32)[None]
        self.shapes, may = shapes, np.asarray(may) * inside
        if self.config.method == "both":
            given = self.editor.networks.decomposer, self.image, self.codes[None]
            out = _domain_mask(*given, size=self.size)
            self.domain = out = np.asarray(refine(out, self.config.domain))
            self.kept["domain"] = round(float((out > 0.5).mean()), 4)
            may = may * (1 - out)
        return may

    def parsed(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each attribute may act on a face [r, 256, 256], and which shapes stay."""
        face = regions.look(self.aligned, face_landmarker(), hand_landmarker())
        for name, direction in zip(self.names, self.directions, strict=True):
            self.notes += [f"{name}: {note}" for note in regions.notes(face, direction)]
        may = np.stack([regions.may_act(face, direction) for direction in self.directions])
        self.kept["parsing"] = round(float(1 - may.max(0).mean()), 4)
        self.kept["hands"] = round(float(face.hands.mean()), 4)
        return may, regions.kept_shapes(face, self.directions, may)

    def drafted(self, asked, undo, may) -> np.ndarray:
        """Above 0.5 where the untuned edit acts and may act [v, v]."""
        acting, around = may > 0.5, windows.fit_window(may.max(0), self.generator.module.cells)
        if around is not None:
            place = around.placed()
            drawn = [draw_window(self.generator, w, place) for w in self.ladder(asked)]
            given = self.classifier, self.image, drawn, place, self.attributes(undo, may)
            masks = np.asarray(window_edit.draft(*given, self.config))[0]
            drafted = acting & (masks >= DRAFT)
            enough = drafted.sum((1, 2)) >= LEAST_AREA * (self.size / 256) ** 2
            acting = np.where(enough[:, None, None], drafted, acting)
        wanted = acting.any(0)
        if self.user_mask is not None and self.config.user_mask == "union":
            small = _resized(self.user_mask[None], size=wanted.shape, method="area")
            wanted |= np.asarray(small)[0] > 0
        return wanted.astype(np.float32)

    @functools.cached_property
    def condition(self) -> dict[str, np.ndarray]:
        """What edits that are not linear have to know of the photograph."""
        return measured(self.aligned[None], self.directions)

    def ladder(self, factors) -> np.ndarray:
        """Codes after 0, 1, ... edits [r + 1, 1, n, k]."""
        chosen, codes = self.directions[: len(factors)], self.codes[None]
        found = steps(chosen, codes, np.array([factors], np.float32), self.condition)
        return np.concatenate([codes[None], codes + np.cumsum(found, 0)])

    def without_missed(self, may: np.ndarray, first: jax.Array, window: Window) -> np.ndarray:
        """The regions less what the tuned generator still shows otherwise: something in front."""
        missed = regions.in_front(
            np.asarray(window_edit.missed(self.image, first, window, self.size))[0]
        )
        self.kept["missed"] = round(float((missed & (may.max(0) > 0)).mean()), 4)
        return may * ~missed

    def attributes(self, undo, may) -> Attributes:
        """The first attributes, as many as there are regions [r, v, v]."""
        count = len(may)
        return Attributes(self.classes[:count], undo[:count], may[None], self.shapes)

    def blended(self, generator, window, undo, first, may, factors) -> tuple[WindowEdit, jax.Array]:
        """The edit of the first few attributes with the given factors, and T."""
        drawn = [draw_window(generator, w, window) for w in self.ladder(factors)[1:]]
        edit = edit_window(
            self.classifier,
            self.image,
            [first, *drawn],
            window,
            self.attributes(undo, may[: len(factors)]),
            self.config,
            None if self.user_mask is None else self.user_mask[None],
        )
        return edit, drawn[-1]

    def reached(
        self, asked: list[float], raw: bool, edit: Callable
    ) -> tuple[list[Reached], tuple[WindowEdit, jax.Array]]:
        """The factors of all attributes, one after the other, and the last result."""
        found: list[Reached] = []
        shown, result = self.aligned, None
        for strength in asked:
            one, result = self.reached_next(strength, raw, edit, found, shown)
            found.append(one)
            shown = from_unit(np.asarray(result[0].fused)[0])
        return found, result

    def reached_next(
        self, strength: float, raw: bool, edit: Callable, done: list[Reached], shown: np.ndarray
    ) -> tuple[Reached, tuple[WindowEdit, jax.Array]]:
        """The factor of the attribute after those that are done, and its result."""
        direction = self.directions[len(done)]
        factors = [r.factor for r in done]
        rendered = functools.cache(lambda factor: edit([*factors, factor]))

        def score(factor: float) -> float:
            picture = from_unit(np.asarray(rendered(factor)[0].fused)[0])
            return self.editor.score(picture, direction)

        if raw or not is_measured(direction):
            one = Reached(strength, strength)
        else:
            before = self.editor.score(shown, direction) if done else self.score_before(direction)
            one = reach(direction, strength, before, score)
        return one, rendered(one.factor)

    def outcome(self, result, first, last, window, factors, report) -> FaceEdit:
        """The result of an edit in a window."""
        result = jax.device_get(result)
        factor = self.aligned.shape[0] // self.generator.module.cells
        top, left = int(window.top) * factor, int(window.left) * factor
        place = top, top + window.height * factor, left, left + window.width * factor
        shown = []
        for part in jax.device_get((first, last)):
            picture = self.aligned.copy()
            picture[place[0] : place[1], place[2] : place[3]] = from_unit(part[0])
            shown.append(picture)
        return self.face_edit(
            inverted=shown[0],
            edited=shown[1],
            fused=from_unit(result.fused[0]),
            source=result.source[0] / 2 + np.float32(0.5),
            mask=result.mask[0],
            cam_mask=self.enlarged(result.cam_mask)[0],
            domain=None if self.domain is None else self.enlarged(self.domain)[0],
            edited_latents=self.ladder(factors)[-1, 0],
            report=report,
            window_pixels=place,
        )

    def face_edit(self, mask, report, **parts) -> FaceEdit:
        """A result with what every edit of this face has in common."""
        report["mask_area"] = round(float((mask > 0).mean()), 6)
        report["out_of_domain_share"] = self.kept.get("domain")
        return FaceEdit(
            aligned=self.aligned,
            deghosted=None,
            mask=mask,
            paste_mask=mask,
            latents=self.codes,
            quad=self.quad,
            report=report,
            **parts,
        )

    def enlarged(self, masks: np.ndarray) -> np.ndarray:
        """Masks [b, v, v] at the photograph's size."""
        return np.asarray(_resized(masks, size=self.aligned.shape[:2], method="bilinear"))

    def unchanged(self, asked, looked: float) -> FaceEdit:
        """The photograph as it is, for nothing of it may change."""
        nothing = np.zeros(self.aligned.shape[:2], np.float32)
        told = {
            n: _told(Reached(a, 0.0, note="nothing may change")) for n, a in zip(self.names, asked)
        }
        report = {"strengths": told, "tuning": None, "kept": self.kept, "notes": self.notes}
        report |= {"classifier": {}, "seconds": {"look": round(looked, 3)}}
        return self.face_edit(
            inverted=self.aligned,
            edited=self.aligned,
            fused=self.aligned,
            source=np.asarray(self.image)[0] / 2 + np.float32(0.5),
            mask=nothing,
            cam_mask=nothing,
            domain=None,
            edited_latents=self.codes,
            report=report,
        )


def blend_of(config: WindowConfig, directions: Sequence[Edit]) -> WindowConfig:
    """The choices of a blend for some edits: a membrane would take a beard's shade off again."""
    shades = any(known(direction.name).shades for direction in directions)
    return dataclasses.replace(config, membrane=config.membrane and not shades)


def is_measured(direction: Edit) -> bool:
    """Whether a score tells how far the direction moves a face."""
    return direction.move > 0 and direction.score in scorers.SCORERS


def _told(reached: Reached) -> dict[str, Any]:
    """For the report: numbers that are none become null."""

    def number(x: float) -> float | None:
        return round(x, 4) if np.isfinite(x) else None

    told = {
        name: number(getattr(reached, name))
        for name in ("asked", "factor", "before", "after", "reached")
    }
    tries = [[number(f), number(r)] for f, r in reached.tries]
    return {**told, "decided_by": reached.decided_by, "tries": tries}
