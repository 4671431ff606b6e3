"""Scores of colours and of textures: of skin, hair, lips, brows and beards, in CIE L*a*b*.

L is in [0, 100]; a grows from green to red, b from blue to yellow.
"""

import numpy as np
from jaxtyping import Float

from diffcam_jax.faces import mesh
from diffcam_jax.faces.evidence import Evidence

MIN_HAIR_SHARE = 0.01
LEAST_CHROMA = 5.0
NAN = float("nan")


def _mean_lab(e: Evidence, mask: np.ndarray) -> np.ndarray:
    """Mean colour [3] under a mask; NaN where it is empty."""
    return e.lab[mask].mean(0) if mask.any() else np.full(3, NAN)


def _cheeks(e: Evidence) -> np.ndarray:
    return _mean_lab(e, e.inside(*mesh.CHEEKS))


def _hair(e: Evidence) -> np.ndarray:
    """Mean colour of the hair; NaN for a head without hair."""
    hair = e.has("hair")
    return _mean_lab(e, hair) if hair.mean() > MIN_HAIR_SHARE else np.full(3, NAN)


def hair_color(e: Evidence) -> float:
    """Mean lightness of the hair."""
    return float(_hair(e)[0])


def black_hair(e: Evidence) -> float:
    """Darkness and lack of colour of the hair, 100 for black."""
    lightness, a, b = _hair(e)
    return float(100 - lightness - np.hypot(a, b))


def blond_hair(e: Evidence) -> float:
    """Yellowness of the hair, and half of its lightness."""
    lightness, _, b = _hair(e)
    return float(b + lightness / 2)


def red_hair(e: Evidence) -> float:
    """Redness of the hair."""
    return float(_hair(e)[1])


def grey_hair(e: Evidence) -> float:
    """Half of the hair's lightness, less its chroma."""
    lightness, a, b = _hair(e)
    return float(lightness / 2 - np.hypot(a, b))


def curly_hair(e: Evidence) -> float:
    """Roughness of the hair: deviation from a local mean, relative to the lightness."""
    hair = e.has("hair")
    if hair.mean() <= MIN_HAIR_SHARE:
        return NAN
    lightness = e.lab[..., 0]
    rough = np.abs(lightness - box_blur(lightness, 3))
    return float(rough[hair].mean() / lightness[hair].mean())


def skin_lightness(e: Evidence) -> float:
    """Mean lightness of the cheeks; it depends on lighting and complexion."""
    return float(_cheeks(e)[0])


def skin_undertone(e: Evidence) -> float:
    """Hue of the cheeks in degrees: 0 is red, 90 is yellow."""
    _, a, b = _cheeks(e)
    return float(np.degrees(np.arctan2(b, a)))


def light_side(e: Evidence) -> float:
    """How much lighter the picture's right cheek is than the left one, in L."""
    left, right = (_mean_lab(e, e.inside(rows))[0] for rows in mesh.CHEEKS)
    return float(right - left)


def blush(e: Evidence) -> float:
    """How much redder the cheeks are than the forehead and the chin."""
    bare = (e.inside(mesh.FOREHEAD) | e.inside(mesh.LOWER_FACE)) & ~e.inside(mesh.OUTER_LIPS)
    rest = e.has("skin") & bare
    return float(_cheeks(e)[1] - _mean_lab(e, rest)[1])


def lipstick(e: Evidence) -> float:
    """How much redder the lips are than the cheeks."""
    lips = e.inside(mesh.OUTER_LIPS) & ~e.inside(mesh.INNER_LIPS) & e.has("upper_lip", "lower_lip")
    return float(_mean_lab(e, lips)[1] - _cheeks(e)[1])


def eye_makeup(e: Evidence) -> float:
    """How much darker the upper lids are than the cheeks, relative to these."""
    lids = e.inside(*mesh.UPPER_LIDS) & e.has("skin")
    return float(1 - _mean_lab(e, lids)[0] / _cheeks(e)[0])


def beard(e: Evidence) -> float:
    """How much darker, rougher and less coloured the skin around the mouth is than other skin."""
    lightness, a, b = np.moveaxis(e.lab, -1, 0)
    texture, chroma = np.abs(lightness - box_blur(lightness, 2)), np.hypot(a, b)
    below = e.inside(mesh.LOWER_FACE) & ~e.inside(mesh.OUTER_LIPS) & e.has("skin", "hair")
    bare = e.inside(*mesh.CHEEKS) & e.has("skin")
    if not below.any() or not bare.any():
        return NAN
    darkness = 1 - float(lightness[below].mean() / np.median(lightness[bare]))
    greyness = 1 - float(chroma[below].mean() / max(float(np.median(chroma[bare])), LEAST_CHROMA))
    roughness = float(texture[below].mean() - texture[bare].mean()) / float(
        np.median(lightness[bare])
    )
    return darkness + 0.5 * greyness + 8 * roughness


def bushy_eyebrows(e: Evidence) -> float:
    """Area of the brows in squared eye distances, weighted by how much darker than skin it is."""
    lightness = e.lab[..., 0]
    brows, skin = e.has("left_brow", "right_brow"), e.has("skin")
    if not skin.any():
        return NAN
    darkness = np.clip(1 - lightness / float(np.median(lightness[skin])), 0, None)
    return float(darkness[brows].sum()) / e.eye_distance**2


def box_blur(x: Float[np.ndarray, "h w"], radius: int) -> Float[np.ndarray, "h w"]:
    """Mean over a (2 radius + 1) square, edges repeated."""
    width = 2 * radius + 1
    for axis in range(2):
        padded = np.pad(
            x, [(radius, radius) if a == axis else (0, 0) for a in range(2)], mode="edge"
        )
        x = sum(
            np.take(padded, range(i, i + x.shape[axis]), axis) for i in range(width)
        ) / np.float32(width)
    return x
