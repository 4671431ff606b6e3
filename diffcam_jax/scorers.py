"""What a face picture shows, as numbers: the scores that directions are fitted to and that edits are judged by.

Pictures: uint8 RGB [n, side, side, 3], FFHQ-aligned, side 256, 512 or 1024. Scores: float32 [n], NaN where no face was found.
Four backbones give the evidence, each run at most once per picture: MediaPipe landmarks with blendshapes, BiSeNet face parsing,
an age network and a gender network; SFace embeds identity. A score is a small formula over that evidence.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from diffcam_jax import weights
from diffcam_jax.errors import UserError
from diffcam_jax.landmarks import FaceLandmarker
from diffcam_jax.nn.bisenet import CLASSES, BiSeNet, upsample_logits

SIDE = 256  # of the picture that masks and colours are measured on
PARSING_INPUT = 512
LANDMARK_INPUT = 512

# Rows of the 478 landmarks. Left and right are the picture's.
LEFT_EYE, RIGHT_EYE = (33, 133, 159, 145), (362, 263, 386, 374)
LEFT_EYE_OUTER, LEFT_EYE_INNER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER = 33, 133, 362, 263
NOSE_TIP, NOSE_BASE = 1, 2
MOUTH_LEFT, MOUTH_RIGHT, INNER_LIP_TOP, INNER_LIP_BOTTOM = 61, 291, 13, 14
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LOWER_FACE = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 410, 426, 327, 2, 98, 206, 186)
CHEEKS = ((117, 118, 101, 36, 205, 187, 147, 123), (346, 347, 330, 266, 425, 411, 376, 352))

# Nose tip's height above the plane of the outer eye corners over their distance, in MediaPipe's canonical face.
NOSE_HEIGHT = 0.45
MIN_HAIR_SHARE = 0.01

# Where a 5-point chip puts (left eye outer, inner, right eye inner, outer, nose base), as a share of its side before padding.
# Source: the mean face of dlib's 5-point shape predictor, which the age and gender networks were trained with.
CHIP_POINTS = (LEFT_EYE_OUTER, LEFT_EYE_INNER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER, NOSE_BASE)
CHIP_TEMPLATE = np.array(
    [[0.120575, 0.213727], [0.334085, 0.229064], [0.646060, 0.228967], [0.859567, 0.213498], [0.490112, 0.627798]]
)
CHIP_PADDING = 0.2
CHIP_MEAN = np.array([122.782, 117.001, 104.298], np.float32)
CHIP_SCALE = 1 / 256
AGES = np.array([0.25, *range(1, 81)], np.float32)  # years of the age network's 81 classes

# Where a 112-pixel ArcFace/SFace crop puts (left eye, right eye, nose tip, left and right mouth corner), in pixels.
IDENTITY_SIDE = 112
IDENTITY_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


@dataclass(frozen=True)
class Evidence:
    """What the backbones say about one picture; a field that no requested score needs keeps its empty value.

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
            ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in self.points[list(rows)]], fill=1)
        return np.asarray(mask, bool)

    @property
    def eye_distance(self) -> float:
        """Distance of the outer eye corners in pixels of `picture`."""
        return float(np.linalg.norm(self.points[RIGHT_EYE_OUTER] - self.points[LEFT_EYE_OUTER]))


def _smiling(e: Evidence) -> float:
    return (e.blendshapes["mouthSmileLeft"] + e.blendshapes["mouthSmileRight"]) / 2


def _mouth_open(e: Evidence) -> float:
    return float(np.linalg.norm(e.points[INNER_LIP_BOTTOM] - e.points[INNER_LIP_TOP])) / e.eye_distance


def _eyes_closed(e: Evidence) -> float:
    return (e.blendshapes["eyeBlinkLeft"] + e.blendshapes["eyeBlinkRight"]) / 2


def _yaw(e: Evidence) -> float:
    """Degrees, positive when the face looks towards the picture's right."""
    left, right = e.points[LEFT_EYE_OUTER], e.points[RIGHT_EYE_OUTER]
    along = (right - left) / e.eye_distance
    shift = float((e.points[NOSE_TIP] - (left + right) / 2) @ along) / e.eye_distance
    return float(np.degrees(np.arctan(shift / NOSE_HEIGHT)))


def _eyeglasses(e: Evidence) -> float:
    face = sum(e.shares[CLASSES.index(name)] for name in ("skin", "nose", "eyeglasses"))
    return float(e.shares[CLASSES.index("eyeglasses")] / face)


def _beard(e: Evidence) -> float:
    """How much darker, rougher and less coloured the skin around the mouth is than the rest of the face."""
    lightness, a, b = np.moveaxis(e.lab, -1, 0)
    texture, chroma = np.abs(lightness - _box_blur(lightness, 2)), np.hypot(a, b)
    below = e.inside(LOWER_FACE) & ~e.inside(OUTER_LIPS) & e.has("skin", "hair")
    bare = e.inside(*CHEEKS) & e.has("skin")
    if not below.any() or not bare.any():
        return float("nan")
    darkness = 1 - float(lightness[below].mean() / np.median(lightness[bare]))
    greyness = 1 - float(chroma[below].mean() / max(float(np.median(chroma[bare])), 5.0))
    roughness = float(texture[below].mean() - texture[bare].mean()) / float(np.median(lightness[bare]))
    return darkness + 0.5 * greyness + 8 * roughness


def _bushy_eyebrows(e: Evidence) -> float:
    """Area of the brows weighted by how much darker than the skin they are, over the squared eye distance."""
    lightness = e.lab[..., 0]
    brows, skin = e.has("left_brow", "right_brow"), e.has("skin")
    if not skin.any():
        return float("nan")
    darkness = np.clip(1 - lightness / float(np.median(lightness[skin])), 0, None)
    return float(darkness[brows].sum()) / e.eye_distance**2


def _hair_color(e: Evidence) -> float:
    """Mean Lab lightness of the hair in [0, 100]; NaN for a head without hair."""
    hair = e.has("hair")
    return float(e.lab[hair][:, 0].mean()) if hair.mean() > MIN_HAIR_SHARE else float("nan")


@dataclass(frozen=True)
class Scorer:
    """A formula over `Evidence` and the backbones, besides the landmarks, that it reads."""

    formula: Callable[[Evidence], float]
    needs: frozenset[str] = frozenset()


SCORERS = {
    "smiling": Scorer(_smiling),
    "mouth_open": Scorer(_mouth_open),
    "eyes_closed": Scorer(_eyes_closed),
    "yaw": Scorer(_yaw),
    "age": Scorer(lambda e: e.age, frozenset({"age"})),
    "gender": Scorer(lambda e: e.male, frozenset({"gender"})),
    "eyeglasses": Scorer(_eyeglasses, frozenset({"parsing"})),
    "beard": Scorer(_beard, frozenset({"parsing"})),
    "bushy_eyebrows": Scorer(_bushy_eyebrows, frozenset({"parsing"})),
    "hair_color": Scorer(_hair_color, frozenset({"parsing"})),
}


def score(
    images: UInt8[np.ndarray, "n side side 3"], names: Sequence[str] | None = None, batch_size: int = 8
) -> dict[str, Float[np.ndarray, " n"]]:
    """Score every picture by every named scorer.

    Args:
        images: aligned faces, RGB.
        names: keys of `SCORERS`; all of them when None.
        batch_size: pictures per pass of a backbone.

    Returns:
        Score name -> float32 [n], NaN where no face was found or where the score has no meaning (hair colour of a bald head).

    Raises:
        UserError: an unknown name, or onnxruntime is missing and a score needs it.
    """
    names = list(SCORERS) if names is None else list(names)
    if unknown := sorted(set(names) - set(SCORERS)):
        raise UserError(f"no scorer is called {', '.join(unknown)}; known are {', '.join(SCORERS)}")
    needs = frozenset().union(*(SCORERS[name].needs for name in names))
    scores = {name: np.full(len(images), np.nan, np.float32) for name in names}
    with FaceLandmarker() as landmarker:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            for index, evidence in _gather(batch, needs, landmarker, batch_size):
                for name in names:
                    scores[name][start + index] = SCORERS[name].formula(evidence)
    return scores


def _gather(
    images: np.ndarray, needs: frozenset[str], landmarker: FaceLandmarker, batch_size: int
) -> Iterator[tuple[int, Evidence]]:
    """The evidence of every picture of a batch that shows a face, with its row."""
    found = [(row, face) for row, image in enumerate(images) if (face := _largest_face(landmarker, image)) is not None]
    if not found:
        return
    rows = [row for row, _ in found]
    points = [face[0] for _, face in found]
    evidence: list[dict] = [{} for _ in found]
    if "parsing" in needs:
        for entry, labels, shares in zip(evidence, *parse(images[rows], batch_size), strict=True):
            entry.update(labels=labels, shares=shares)
    if "age" in needs:
        for entry, probability in zip(evidence, _classify("age", 64, images[rows], points), strict=True):
            entry["age"] = float(probability @ AGES)
    if "gender" in needs:
        for entry, probability in zip(evidence, _classify("gender", 32, images[rows], points), strict=True):
            female, male = np.clip(probability.astype(np.float64), 1e-6, 1)
            entry["male"] = float(np.log(male / female))
    for (row, (unit_points, blendshapes)), entry in zip(found, evidence, strict=True):
        yield row, Evidence(resized(images[row], SIDE), unit_points * SIDE, blendshapes, **entry)


def _largest_face(landmarker: FaceLandmarker, image: np.ndarray) -> tuple[np.ndarray, dict[str, float]] | None:
    """Landmarks [478, 2] as a share of the side, and blendshapes, of the largest face; None without a face."""
    small = resized(image, min(LANDMARK_INPUT, image.shape[0]))
    faces = landmarker.detect(small)
    if not faces:
        return None
    face = max(faces, key=lambda face: float(np.prod(np.ptp(face.points, axis=0))))
    return np.asarray(face.points, np.float32) / small.shape[0], face.blendshapes


@functools.cache
def _parser() -> Callable[[np.ndarray], tuple[jax.Array, jax.Array]]:
    params, _ = weights.load_pretrained("bisenet")
    params = jax.device_put(params)

    @jax.jit
    def run(params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = BiSeNet().apply({"params": params}, images.astype(jnp.float32) / 127.5 - 1)
        labels = upsample_logits(logits, SIDE).argmax(-1).astype(jnp.uint8)
        return labels, jax.nn.softmax(logits).mean((1, 2))

    return functools.partial(run, params)


def parse(
    images: UInt8[np.ndarray, "n side side 3"], batch_size: int = 8
) -> tuple[UInt8[np.ndarray, "n 256 256"], Float[np.ndarray, "n 19"]]:
    """Face parsing.

    Args:
        images: aligned faces, RGB.
        batch_size: pictures per pass; a smaller rest is padded, so that one compilation serves.

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
def _session(name: str):
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("scoring faces needs onnxruntime; install it with: pip install 'diffcam-jax[score]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: SFace's constants listed as inputs draw a page of warnings
    return onnxruntime.InferenceSession(str(weights.fetch(name)), options, providers=["CPUExecutionProvider"])


def _classify(name: str, side: int, images: np.ndarray, points: Sequence[np.ndarray]) -> np.ndarray:
    """Class probabilities [n, classes] of the age or the gender network."""
    template = (CHIP_TEMPLATE + CHIP_PADDING) / (1 + 2 * CHIP_PADDING) * side
    chips = [chip(image, p[list(CHIP_POINTS)], template, side) for image, p in zip(images, points, strict=True)]
    inputs = (np.stack(chips).astype(np.float32) - CHIP_MEAN) * np.float32(CHIP_SCALE)
    session = _session(name)
    return session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))})[0]


def identity_embedding(images: UInt8[np.ndarray, "n side side 3"]) -> Float[np.ndarray, "n 128"]:
    """SFace embeddings.

    Args:
        images: faces, RGB; need not be aligned.

    Returns:
        Unit vectors; NaN rows where no face was found.

    Raises:
        UserError: onnxruntime is missing.

    Reference:
        Zhong et al., SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition (2205.12010).
    """
    session = _session("sface")
    embeddings = np.full((len(images), 128), np.nan, np.float32)
    with FaceLandmarker() as landmarker:
        for row, image in enumerate(images):
            if (face := _largest_face(landmarker, image)) is None:
                continue
            points = face[0]
            five = [points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0)]
            five += [points[NOSE_TIP], points[MOUTH_LEFT], points[MOUTH_RIGHT]]
            crop = chip(image, np.stack(five), IDENTITY_TEMPLATE, IDENTITY_SIDE)
            # The file fixes its batch to one; RGB in 0..255, the graph itself normalises.
            vector = session.run(None, {"data": crop.astype(np.float32).transpose(2, 0, 1)[None]})[0][0]
            embeddings[row] = vector / np.linalg.norm(vector)
    return embeddings


def identity_similarity(
    a: UInt8[np.ndarray, "n side_a side_a 3"], b: UInt8[np.ndarray, "n side_b side_b 3"]
) -> Float[np.ndarray, " n"]:
    """Cosine of the SFace embeddings of pictures taken pairwise, in [-1, 1]; NaN where either shows no face."""
    return (identity_embedding(a) * identity_embedding(b)).sum(-1)


def resized(image: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Area mean when shrinking, bilinear when growing."""
    if image.shape[:2] == (side, side):
        return image
    method = Image.Resampling.BOX if side < image.shape[0] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((side, side), method))


def similarity_transform(source: Float[np.ndarray, "k 2"], target: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "2 3"]:
    """The rotation, uniform scale and shift that bring `source` nearest to `target` in the least squares sense.

    Reference:
        Umeyama, Least-squares estimation of transformation parameters between two point patterns (1991), eqs. 40-42. In the
        plane, with points as complex numbers, it is one complex division.
    """
    z, y = (p[:, 0] + 1j * p[:, 1] for p in (source, target))
    turn = np.vdot(z - z.mean(), y - y.mean()) / np.vdot(z - z.mean(), z - z.mean())
    shift = y.mean() - turn * z.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def chip(
    image: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "k 2"], template: Float[np.ndarray, "k 2"], side: int
) -> UInt8[np.ndarray, "side side 3"]:
    """The square around a face in which `points` lie where `template` has them.

    Args:
        image: square picture.
        points: x, y as a share of the picture's side.
        template: x, y in pixels of the chip.
        side: of the chip, in pixels.

    Returns:
        The chip; black outside the picture. Shrunk by area means first, so that nothing aliases.
    """
    h = image.shape[0]
    matrix = similarity_transform(np.asarray(points, np.float64) * h, template)
    shrink = max(1, int(1 / np.hypot(matrix[0, 0], matrix[1, 0])))
    reduced = Image.fromarray(image).reduce(shrink)
    full = np.vstack([matrix @ np.diag([shrink, shrink, 1]), [0, 0, 1]])
    inverse = np.linalg.inv(full)[:2].ravel()
    warped = reduced.transform((side, side), Image.Transform.AFFINE, tuple(inverse), Image.Resampling.BILINEAR)
    return np.asarray(warped)


def lab(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """sRGB to CIE L*a*b* (D65): L in [0, 100]."""
    c = np.arange(256, dtype=np.float32) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)[image]
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    white = [[0.95047], [1.0], [1.08883]]
    t = linear @ (np.array(to_xyz) / white).T.astype(np.float32)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / np.float32(3 * (6 / 29) ** 2) + np.float32(4 / 29))
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _box_blur(x: Float[np.ndarray, "h w"], radius: int) -> Float[np.ndarray, "h w"]:
    """Mean over a (2 radius + 1) square, edges repeated."""
    width = 2 * radius + 1
    for axis in range(2):
        padded = np.pad(x, [(radius, radius) if a == axis else (0, 0) for a in range(2)], mode="edge")
        x = sum(np.take(padded, range(i, i + x.shape[axis]), axis) for i in range(width)) / np.float32(width)
    return x
