"""Measurements on face pictures: landmarks, blendshapes, face parsing, age and gender.

Pictures are uint8 RGB [n, side, side, 3], FFHQ-aligned. Each network is loaded when first needed,
once. The age and gender networks (dlib's, by Cydral Technology) are ONNX files and run in
onnxruntime; the parsing runs in JAX.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.errors import UserError
from diffcam_jax.faces.chips import chip, lab, resized
from diffcam_jax.faces.landmarks import FaceLandmarker
from diffcam_jax.nn.bisenet import CLASSES, BiSeNet, upsample_logits
from diffcam_jax.ops.image import to_unit
from diffcam_jax.pretrained import store

SIDE = 256  # of the picture that masks and colours are measured on
PARSING_INPUT = 512
LANDMARK_INPUT = 512

# Rows of the 478 landmarks; left and right are the picture's.
LEFT_EYE_OUTER, LEFT_EYE_INNER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER, NOSE_BASE = 33, 133, 362, 263, 2

# Positions in a chip of (left eye outer, inner, right eye inner, outer, nose base), relative to its
# side before padding: the mean face of dlib's 5-point shape predictor, with which the age and
# gender networks were trained.
CHIP_POINTS = (LEFT_EYE_OUTER, LEFT_EYE_INNER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER, NOSE_BASE)
CHIP_TEMPLATE = np.array(
    [
        [0.120575, 0.213727],
        [0.334085, 0.229064],
        [0.646060, 0.228967],
        [0.859567, 0.213498],
        [0.490112, 0.627798],
    ]
)
CHIP_PADDING = 0.2
CHIP_MEAN = np.array([122.782, 117.001, 104.298], np.float32)
CHIP_SCALE = 1 / 256
AGES = np.array([0.25, *range(1, 81)], np.float32)  # years of the age network's 81 classes


@dataclass(frozen=True)
class Evidence:
    """The measurements on one picture.

    A field that no requested score needs keeps its empty value.

    Attributes:
        picture: [SIDE, SIDE, 3] uint8 RGB.
        points: [478, 2] landmarks as x, y in pixels of `picture`.
        blendshapes: MediaPipe's 52 coefficients in [0, 1] by name.
        labels: [SIDE, SIDE] index into `CLASSES`.
        shares: [19] mean probability of each class over the picture.
        age: expected age in years.
        male: log odds of male against female.
    """

    picture: UInt8[np.ndarray, "256 256 3"]
    points: Float[np.ndarray, "478 2"]
    blendshapes: dict[str, float]
    labels: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.uint8))
    shares: np.ndarray = field(default_factory=lambda: np.zeros(len(CLASSES), np.float32))
    age: float = float("nan")
    male: float = float("nan")

    @functools.cached_property
    def lab(self) -> np.ndarray:
        """`picture` in CIE L*a*b*, [SIDE, SIDE, 3]."""
        return lab(self.picture)

    def has(self, *classes: str) -> np.ndarray:
        """Mask [SIDE, SIDE] of the pixels parsed as any of `classes`."""
        return np.isin(self.labels, [CLASSES.index(name) for name in classes])

    def inside(self, *polygons: Sequence[int]) -> np.ndarray:
        """Mask [SIDE, SIDE] of the union of polygons, each given by landmark rows."""
        mask = Image.new("L", (SIDE, SIDE))
        for rows in polygons:
            ImageDraw.Draw(mask).polygon(
                [(float(x), float(y)) for x, y in self.points[list(rows)]], fill=1
            )
        return np.asarray(mask, bool)

    @property
    def eye_distance(self) -> float:
        """Distance of the outer eye corners in pixels of `picture`."""
        return self.distance(RIGHT_EYE_OUTER, LEFT_EYE_OUTER)

    def distance(self, first: int, second: int) -> float:
        """Distance of two landmarks, given by their rows, in pixels of `picture`."""
        return float(np.linalg.norm(self.points[first] - self.points[second]))


def gather(
    images: np.ndarray, needs: frozenset[str], landmarker: FaceLandmarker, batch_size: int
) -> Iterator[tuple[int, Evidence]]:
    """Measures every picture of a batch that shows a face.

    Args:
        images: aligned faces, uint8 RGB [n, side, side, 3].
        needs: networks to run besides the landmarker: "parsing", "age", "gender".
        landmarker: finds the faces.
        batch_size: pictures per pass of a network.

    Yields:
        Row of the picture and its measurements.
    """
    found = [
        (row, face)
        for row, image in enumerate(images)
        if (face := find_face(landmarker, image)) is not None
    ]
    if not found:
        return
    rows = [row for row, _ in found]
    points = [face[0] for _, face in found]
    evidence: list[dict] = [{} for _ in found]
    if "parsing" in needs:
        for entry, labels, shares in zip(evidence, *parse(images[rows], batch_size), strict=True):
            entry.update(labels=labels, shares=shares)
    if "age" in needs:
        for entry, probability in zip(
            evidence, _classify("age", 64, images[rows], points), strict=True
        ):
            entry["age"] = float(probability @ AGES)
    if "gender" in needs:
        for entry, probability in zip(
            evidence, _classify("gender", 32, images[rows], points), strict=True
        ):
            female, male = np.clip(probability.astype(np.float64), 1e-6, 1)
            entry["male"] = float(np.log(male / female))
    for (row, (unit_points, blendshapes)), entry in zip(found, evidence, strict=True):
        yield row, Evidence(resized(images[row], SIDE), unit_points * SIDE, blendshapes, **entry)


def find_face(
    landmarker: FaceLandmarker, image: np.ndarray
) -> tuple[np.ndarray, dict[str, float]] | None:
    """Landmarks [478, 2] relative to the side, and blendshapes, of the picture's face.

    None without a face.
    """
    small = resized(image, min(LANDMARK_INPUT, image.shape[0]))
    faces = landmarker.detect(small, search=False)
    return (
        (faces[0].points.astype(np.float32) / small.shape[0], faces[0].blendshapes)
        if faces
        else None
    )


@functools.cache
def _parser() -> Callable[[np.ndarray], tuple[jax.Array, jax.Array]]:
    params, _ = store.load_pretrained("bisenet")
    params = jax.device_put(params)

    @kept_jit
    def run(params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = BiSeNet().apply({"params": params}, to_unit(images))
        labels = upsample_logits(logits, SIDE).argmax(-1).astype(jnp.uint8)
        return labels, jax.nn.softmax(logits).mean((1, 2))

    return functools.partial(run, params)


def parse(
    images: UInt8[np.ndarray, "n side side 3"], batch_size: int = 8
) -> tuple[UInt8[np.ndarray, "n 256 256"], Float[np.ndarray, "n 19"]]:
    """Face parsing.

    Args:
        images: aligned faces, RGB.
        batch_size: pictures per pass; a smaller remainder is padded, so that one compilation
            suffices.

    Returns:
        Labels (index into `CLASSES`) at 256, and the mean probability of each class.
    """
    inputs = np.stack([resized(image, PARSING_INPUT) for image in images])
    labels, shares = [], []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        padded = np.pad(batch, ((0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)))
        batch_labels, batch_shares = _parser()(padded)
        labels.append(np.asarray(batch_labels)[: len(batch)])
        shares.append(np.asarray(batch_shares)[: len(batch)])
    return np.concatenate(labels), np.concatenate(shares)


@functools.cache
def session(name: str) -> Any:
    """The onnxruntime session of a part of the store.

    Raises:
        UserError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "scoring faces needs onnxruntime; install it with: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(
        str(store.fetch(name)), options, providers=["CPUExecutionProvider"]
    )


def _classify(name: str, side: int, images: np.ndarray, points: Sequence[np.ndarray]) -> np.ndarray:
    """Class probabilities [n, classes] of the age or the gender network."""
    template = (CHIP_TEMPLATE + CHIP_PADDING) / (1 + 2 * CHIP_PADDING) * side
    chips = [
        chip(image, p[list(CHIP_POINTS)], template, side)
        for image, p in zip(images, points, strict=True)
    ]
    inputs = (np.stack(chips).astype(np.float32) - CHIP_MEAN) * np.float32(CHIP_SCALE)
    return session(name).run(None, {"images": np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))})[
        0
    ]
