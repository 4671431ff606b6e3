"""The metrics, which have no weights.

Their inputs are pictures, patch centres, directions and feature vectors.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np

from convert_weights.fixture import Fixture, nchw, nhwc
from convert_weights.layout import Layout, Shapes
from diffcam_jax.metrics import pixel, swd
from diffcam_jax.metrics.frechet import frechet_distance, statistics

CROP = 2


def layouts(fixture: Fixture) -> list[tuple[Layout, Shapes]]:
    """Nothing is converted."""
    return []


def outputs(fixture: Fixture) -> dict[str, np.ndarray]:
    """Every output of the fixture, NCHW."""
    values = _swd(fixture) | _frechet(fixture) | _pixel(fixture)
    return {name: np.asarray(value) for name, value in values.items()}


def _swd(fixture: Fixture) -> dict[str, np.ndarray]:
    inputs = fixture.inputs
    sets = {
        name: [np.asarray(x) for x in jax.jit(swd.laplacian_pyramid)(nhwc(inputs[name]))]
        for name in ("real", "fake")
    }
    ours = {f"swd.pyramid.{i}": nchw(level) for i, level in enumerate(sets["real"])}
    distances = []
    for i in range(len(sets["real"])):
        found = {
            name: swd.patches(levels[i], inputs[f"pos.{name}.{i}"]) for name, levels in sets.items()
        }
        repeats = [inputs[name] for name in inputs if name.startswith(f"dir.{i}.")]
        distances.append(swd.level_distance(found["real"], found["fake"], repeats))
        if i == 0:
            ours |= {f"swd.descriptors.{name}": swd.normalised(x) for name, x in found.items()}
    return ours | {"swd.levels": np.array([*distances, np.mean(distances)])}


def _frechet(fixture: Fixture) -> dict[str, float]:
    a, b = fixture.inputs["feat_a"], fixture.inputs["feat_b"]
    rows = int(_number(fixture, "fid.frechet_rank_deficient", r"first (\d+) rows", 12))
    pairs = {
        "fid.frechet": (a, b),
        "fid.frechet_self": (a, a[::2]),
        "fid.frechet_rank_deficient": (a[:rows], b[:rows]),
    }
    return {name: frechet_distance(statistics(x), statistics(y)) for name, (x, y) in pairs.items()}


def _pixel(fixture: Fixture) -> dict[str, float]:
    real, fake = (nhwc(fixture.inputs[name])[:1] for name in ("real", "fake"))
    crop = int(_number(fixture, "basicsr_psnr", r"crop_border (\d+)", CROP))
    shares = [
        _number(fixture, "near.psnr", rf"([\d.]+)\*{name}", usual)
        for name, usual in (("real", 0.85), ("fake", 0.15))
    ]
    # Many mixtures end in .5: only float32 rounds them as the reference did.
    near = np.round(np.float32(shares[0]) * real + np.float32(shares[1]) * fake)
    real, fake, near = (np.float32(images / 127.5 - 1) for images in (real, fake, near))
    swapped = [pixel.luma(jnp.asarray(images[..., ::-1])) for images in (real, fake)]
    ours = {
        "mse_255": 127.5**2 * pixel.mse(real, fake),
        "mse_pm1": pixel.mse(real, fake),
        "psnr": pixel.psnr(real, fake),
        "ssim_uniform": pixel.ssim(real, fake, "uniform"),
        "ssim_gaussian": pixel.ssim(real, fake, "gaussian"),
        "ssim_gray_uniform": pixel.ssim(real[..., :1], fake[..., :1], "uniform"),
        "basicsr_psnr": pixel.psnr(real, fake, crop),
        "basicsr_ssim": pixel.ssim(real, fake, "gaussian", crop),
        "basicsr_psnr_y": pixel.psnr(*swapped, crop),
        "near.psnr": pixel.psnr(real, near),
        "near.ssim_uniform": pixel.ssim(real, near, "uniform"),
        "near.ssim_gaussian": pixel.ssim(real, near, "gaussian"),
        "near.basicsr_ssim": pixel.ssim(real, near, "gaussian", crop),
    }
    return {name: value[0] for name, value in ours.items()}


def _number(fixture: Fixture, output: str, pattern: str, usual: float) -> float:
    """A number that only an output's description contains."""
    match = (
        re.search(pattern, fixture.description(output))
        if output in fixture.manifest["outputs"]
        else None
    )
    return float(match[1]) if match else usual
