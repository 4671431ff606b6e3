"""An edit made elsewhere, taken into its photograph: register, match, look, compare, blend.

register  where the other picture lies in the photograph                 faces.registration
match     its colours, and how much softer it is                         faces.appearance
look      what the photograph shows where, and so what may change        editing.regions
compare   where the two differ by more than noise; Diff-CAM              editing.external
blend     hard core, rim, membrane, Eq. 5, at the photograph's own size  editing.external
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8, UInt16

import diffcam_jax
from diffcam_jax.directions import Direction
from diffcam_jax.directions.acts import known as known_acts
from diffcam_jax.editing import external, regions
from diffcam_jax.editing.config import METHODS, EditConfig
from diffcam_jax.editor.face_edit import FaceEditor
from diffcam_jax.editor.pasting import check_mask, crop_mask, paste_faces
from diffcam_jax.editor.results import EditResult, FaceEdit, judged
from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.faces import align, appearance, registration, views
from diffcam_jax.faces.shared import face_landmarker, hand_landmarker
from diffcam_jax.ops.image import from_unit, resize

Pixels = UInt8[np.ndarray, "_ _ 3"] | UInt16[np.ndarray, "_ _ 3"]

# Sides of the aligned picture; each is compiled once.
SIDES = (256, 512, 1024, 2048)
# Where no attribute is named the whole head may change.
_ANYTHING = Direction("", np.zeros((1, 1), np.float32), (0.0, 0.0), (0, 1), "", "", "", "")
NOTHING = "where the edit may act the pictures differ by no more than noise; nothing was taken"


def blend(
    faces: FaceEditor,
    pixels: Pixels,
    edited: Pixels,
    names: Sequence[str],
    find: Callable[[], list[Float[np.ndarray, "4 2"]]],
    config: EditConfig,
    user_mask: Float[np.ndarray, "_ _"] | None,
    weights: Mapping[str, Any],
) -> EditResult:
    """Takes an edit of one or more faces into a photograph; see `Editor.blend`.

    Args:
        faces: the networks and directions.
        pixels: the photograph.
        edited: the picture from elsewhere.
        names: of the attributes that were edited; none for whatever changed.
        find: gives the squares around the faces.
        config: choices, with a window.
        user_mask: at the photograph's size.
        weights: hashes of the networks, for the report.

    Raises:
        UserError: see `Editor.blend`.
    """
    start = time.perf_counter()
    check(faces, names, config)
    check_mask(user_mask, pixels)
    quads = find()
    looked = time.perf_counter()
    found = [
        ExternalEdit(faces, pixels, edited, quad, names, config, user_mask).run() for quad in quads
    ]
    image, untouched = paste_faces(pixels, found, faces.domain.beyond)
    report = {
        "names": list(names),
        "method": config.method,
        **untouched,
        "seconds": {
            "faces": round(looked - start, 3),
            "total": round(time.perf_counter() - start, 3),
        },
        "faces": [one.report for one in found],
        "versions": {"diffcam_jax": diffcam_jax.__version__, "jax": jax.__version__},
        "weights": {
            **weights,
            "directions": {name: faces.directions[name].sha256 for name in names},
        },
    }
    return EditResult(image, tuple(found), report)


def check(faces: FaceEditor, names: Sequence[str], config: EditConfig) -> None:
    """Whether an edit made elsewhere can be taken in so.

    Args:
        faces: the networks and directions.
        names: of the attributes.
        config: choices.

    Raises:
        UserError: an attribute is unknown or named twice, or the method finds no edit.
    """
    classes = faces.networks.classifier.names
    for name in names:
        if name not in faces.directions or name not in classes:
            both = [known for known in faces.directions if known in classes]
            raise UserError(f"no attribute is called {name!r}; {suggestion(name, both)}")
    if len(set(names)) < len(names):
        raise UserError("an attribute is named twice; name each once")
    if config.method not in METHODS or config.window is None:
        raise UserError(
            "an edit made elsewhere is found by Diff-CAM and blended the product's way; leave out "
            "the method and the variant"
        )


class ExternalEdit:
    """One face of a photograph and what another program made of it.

    Arguments are those of `blend`, for one quad.
    """

    def __init__(self, faces, pixels, edited, quad, names, config, user_mask) -> None:
        self.faces, self.pixels, self.other, self.quad = faces, pixels, edited, quad
        self.domain = faces.domain
        self.names, self.user_mask = list(names), user_mask
        self.classifier = faces.networks.classifier
        self.directions = [faces.directions[name] for name in names] or [_ANYTHING]
        shades = any(known_acts(name).shades for name in names)
        # What was found to differ is the core; how much it differs is not asked again.
        window = dataclasses.replace(
            config.window, share=0.0, least=0.0, membrane=config.window.membrane and not shades
        )
        self.config = dataclasses.replace(config, window=window)
        self.side = side_for(float(np.hypot(*(quad[3] - quad[0]))))
        self.size = min(config.classifier_size, self.side)
        self.notes: list[str] = []

    def run(self) -> FaceEdit:
        """The whole way.

        Raises:
            UserError: see `Editor.blend`.
        """
        times = [time.perf_counter()]
        place = registration.register(self.pixels, self.other, self.quad)
        times.append(time.perf_counter())
        image = align.crop(self.pixels, self.quad, self.side, self.domain.beyond)
        edited, softened, known, told = self.matched(image, place)
        times.append(time.perf_counter())
        aligned = np.rint(image * 255).astype(np.uint8)
        may, kept, protected = self.looked(aligned)
        times.append(time.perf_counter())
        unit = [jnp.asarray(x[None] * 2 - 1) for x in (image, softened, edited)]
        acts, shown, judgement = self.compared(*unit[1:], known, may)
        masks = acts, may.max(0), kept, self.by_hand()
        masks = [jnp.asarray(x[None]) for x in masks]
        taken = jax.device_get(external.take_in(*unit, *masks, self.config))
        times.append(time.perf_counter())
        steps = ("register", "match", "look", "blend")
        report = {
            "registration": told,
            "kept": protected,
            "notes": self.notes,
            "mask_area": round(float((taken.mask > 0).mean()), 6),
            **judgement,
            "seconds": {s: round(b - a, 3) for s, a, b in zip(steps, times, times[1:])},
        }
        return FaceEdit(
            aligned=aligned,
            inverted=from_unit(softened * 2 - 1),
            edited=from_unit(edited * 2 - 1),
            fused=from_unit(taken.fused[0]),
            deghosted=None,
            source=taken.source[0] / 2 + np.float32(0.5),
            mask=taken.mask[0],
            cam_mask=enlarged(shown, self.side),
            domain=None,
            paste_mask=taken.mask[0],
            latents=None,
            edited_latents=None,
            quad=self.quad,
            report=report,
        )

    def matched(self, image, place) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """T, I', where both are known [s, s] as 0 or 1, and what is told of the registration."""
        to_photo = views.frame(self.quad, self.side)
        drawn, covered = views.view(self.other, place.matrix @ to_photo, self.side)
        known = covered & views.inside(to_photo, self.side, *self.pixels.shape[:2])
        colours = appearance.match_colours(drawn, image, known)
        edited = colours.restored(drawn, image)
        sigma = appearance.softness(edited, image, known)
        softened = appearance.soft(image, sigma)
        edited = np.where(known[..., None], edited, softened)
        residual = float(np.median(np.abs(edited - softened).mean(-1)[known])) * 255
        x, y = place.shift
        told = {
            "kind": place.kind,
            "scale": round(place.scale, 5),
            "shift": [round(x, 3), round(y, 3)],
            "rotation": round(place.turn, 3),
            "matches": place.matches,
            "agreement": round(place.agreement, 3),
            "gain": [round(float(g), 3) for g in colours.gain],
            "offset": [round(float(o), 1) for o in colours.offset],
            "softness": round(sigma * float(np.hypot(*to_photo[:2, 0])), 2),
            "residual": round(residual, 2),
        }
        return edited, softened, known.astype(np.float32), told

    def looked(self, aligned) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Where each attribute may act [r, v, v], whose shapes are kept [v, v], and shares."""
        inside = self.domain.inside(self.size)
        if not self.domain.parsing:
            may = np.repeat(inside[None], len(self.directions), 0)
            return may, (inside == 0).astype(np.float32), {}
        face = regions.look(aligned, face_landmarker(), hand_landmarker())
        for name, direction in zip(self.names, self.directions):
            self.notes += [f"{name}: {note}" for note in regions.notes(face, direction)]
        # Shades need not fade out towards the border of their region: where they end is seen.
        plain = [dataclasses.replace(direction, name="") for direction in self.directions]
        may = np.stack([regions.may_act(face, direction) for direction in plain])
        kept = np.zeros_like(may[0])
        if self.names:
            kept = regions.kept_shapes(face, self.directions, may)
        shares = {"parsing": 1 - may.max(0).mean(), "hands": face.hands.mean()}
        both = resize(jnp.asarray(np.stack([*may, kept])), (self.size, self.size), "area")
        *may, kept = np.asarray(both)
        return np.stack(may) * inside, kept, {k: round(float(v), 4) for k, v in shares.items()}

    def by_hand(self) -> np.ndarray:
        """The mask by hand [s, s]; without one, one that changes nothing."""
        if self.user_mask is None:
            return np.full((self.side,) * 2, self.config.user_mask != "union", np.float32)
        return crop_mask(self.user_mask, self.quad, self.side, self.domain)

    def compared(
        self, softened, edited, known, may
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Where the edit is taken [v, v], what found it [v, v], and the classifier's judgement."""
        given = self.classifier, softened, edited
        evidence = np.asarray(external.evidence(*given, jnp.asarray(known[None]), self.size))
        acts = external.acting(evidence) & (may.max(0) > 0)
        shown = np.clip(evidence / external.SURE, 0, 1)
        names, classes = self.names, self.classifier.names
        judgement: dict[str, Any] = {"changes": {}, "classifier": {}}
        if not acts.any():
            self.notes.append(NOTHING)
        elif names:
            given = *given, jnp.asarray(acts[None], jnp.float32), self.config
            found = jax.device_get(external.judge(*given))
            chosen = [classes.index(name) for name in names]
            places, orders = external.shows(found, chosen, may, self.config.window.cam)
            acts, shown = acts & places, found.mask[orders, chosen].max(0)
            judgement["changes"] = {n: ("appears", "goes")[o] for n, o in zip(names, orders)}
            judgement["classifier"] = judged(names, classes, found.logits[orders])
            if not acts.any():
                self.notes.append(
                    f"no change was found where {' or '.join(names)} shows; leave --attribute out "
                    "to take whatever changed"
                )
        return acts.astype(np.float32), shown, judgement


def side_for(length: float) -> int:
    """The side of the aligned picture for a face's square of `length` pixels in the photograph."""
    return next((side for side in SIDES if side >= length), SIDES[-1])


def enlarged(mask: Float[np.ndarray, "v v"], side: int) -> Float[np.ndarray, "s s"]:
    """A mask at another size."""
    return np.asarray(resize(jnp.asarray(mask[None], jnp.float32), (side, side), "bilinear"))[0]
