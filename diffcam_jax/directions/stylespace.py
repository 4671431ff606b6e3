"""Directions of the few style channels that change an attribute most for least change elsewhere.

The channels are what the affine layers of a generator make of a row of W+ (`styles`). Each is
probed as rows are in `sensitivity`: what a step of it changes inside of a region, and outside. The
step of a direction in W gives every channel an effect inside; the channels with the largest effect,
relative to the change outside that they cause, are kept. A W+ code cannot hold any styles: the step
is realised row by row, by the shortest step of the row whose styles come closest.

Source: Wu et al., StyleSpace Analysis (2011.12799), for the channels; the probes are new.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from tqdm import tqdm

from diffcam_jax.directions.sensitivity import PROBE_SIZE, areas, probing
from diffcam_jax.directions.space import CodeSpace
from diffcam_jax.directions.styles import at, gain, modulations, with_biases
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network

CHANNELS = 40


class Channels(NamedTuple):
    """Probes of the style channels of a generator, all affine layers concatenated.

    Attributes:
        rows: [c] row of W+ that drives each channel.
        kernel: [c, k] its weights: the channel's change is their inner product with the row's.
        probes: [n, z, p, c] gradients, as in `sensitivity.Sensitivity`.
        labels: [n, SIDE, SIDE] face parsing of the codes' pictures.
    """

    rows: np.ndarray
    kernel: np.ndarray
    probes: np.ndarray
    labels: np.ndarray

    def of(self, step: Float[np.ndarray, "rows k"]) -> Float[np.ndarray, " c"]:
        """What a step in W+ adds to the channels."""
        return np.einsum("ck,ck->c", self.kernel, step[self.rows])


class Sparse(NamedTuple):
    """A step of a few channels.

    Attributes:
        step: [rows, k] in W+.
        channels: [m] the channels that were chosen.
        realised: share of their change, in its squared length over all channels of the touched
            rows, that the step in W+ realises.
    """

    step: np.ndarray
    channels: np.ndarray
    realised: float


def probe_channels(
    generator: Network,
    codes: Float[np.ndarray, "n r k"],
    labels: UInt8[np.ndarray, "n side side"],
    count: int = 3,
) -> Channels:
    """Probes every style channel at some codes.

    Args:
        generator: MobileStyleGAN or StyleGAN2 or StyleGAN v1, of at least `PROBE_SIZE` pixels.
        codes: of faces.
        labels: face parsing of their pictures.
        count: number of probes of each zone.

    Raises:
        UserError: the generator is of another kind, or its pictures are smaller.
    """
    params, model = generator.variables["params"], generator.module
    places = [(row, path) for row, paths in enumerate(modulations(model)) for path in paths]
    kernels = [gain(model) * np.asarray(at(params, path)["kernel"]).T for _, path in places]
    found = []
    faces = zip(tqdm(codes, desc="probing", unit="face"), labels, strict=True)
    for seed, (code, parsed) in enumerate(faces):
        seen = probing(model, parsed, count, seed)
        code = jnp.asarray(np.broadcast_to(code, (1, wplus_rows(model), code.shape[-1])))
        pulled = _pulled_back(
            model, generator.variables, tuple(path for _, path in places), code, jnp.asarray(seen)
        )
        found.append(np.asarray(pulled).reshape(-1, count, pulled.shape[-1]))
    return Channels(
        np.repeat([row for row, _ in places], [len(kernel) for kernel in kernels]),
        np.concatenate(kernels),
        np.stack(found),
        labels,
    )


@functools.partial(jax.jit, static_argnames=("model", "paths"))
def _pulled_back(
    model: nn.Module,
    variables: dict,
    paths: tuple[tuple[str, ...], ...],
    code: Float[Array, "1 rows k"],
    seen: Float[Array, "p 1 s s 3"],
) -> Float[Array, "p c"]:
    """Gradients by the styles, which those by the biases are, since there is a single code."""
    params = variables["params"]

    def picture(biases: list[Array]) -> Array:
        own = variables | {"params": with_biases(params, dict(zip(paths, biases, strict=True)))}
        return model.apply(own, code, method="synthesis", size=PROBE_SIZE)

    _, back = jax.vjp(picture, [at(params, path)["bias"] for path in paths])
    return jax.lax.map(lambda cotangent: jnp.concatenate(back(cotangent)[0]), seen)


def sparse(
    step: Float[np.ndarray, "rows k"],
    channels: Channels,
    inside: Bool[np.ndarray, " z"],
    space: CodeSpace,
    count: int = CHANNELS,
) -> Sparse:
    """A step of a few channels with the effect, inside of some zones, of a step in W.

    Args:
        step: D, in W+; rows of zeros stay so.
        channels: of the generator.
        inside: the zones of the attribute's region.
        space: moments of the prior.
        count: number of channels that may change.
    """
    weights = (areas(channels.labels) + 1 / len(inside)) / 2
    # Squared changes of a zone, by channels in units of the styles.
    within = (channels.probes * np.sqrt(weights)[:, None, None])[:, inside]
    beyond = (channels.probes * np.sqrt(weights)[:, None, None])[:, ~inside]
    within = within.reshape(-1, within.shape[-1])
    beyond = beyond.reshape(-1, beyond.shape[-1])
    wanted = within @ channels.of(step)
    gained = (within.T @ wanted) * step.any(1)[channels.rows]
    cost = np.sqrt((beyond**2).mean(0)) + 0.1 * np.sqrt((beyond**2).mean())
    chosen = np.sort(np.argsort(-np.abs(gained) / cost)[:count])
    spread = _deviations(channels, space)[chosen]
    inner, outer = within[:, chosen] * spread, beyond[:, chosen] * spread
    gram = inner.T @ inner + outer.T @ outer
    gram += 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram))
    change = np.zeros(len(channels.rows), np.float32)
    change[chosen] = spread * np.linalg.solve(gram, inner.T @ wanted)
    made, missed = np.zeros_like(step), 0.0
    for row in np.unique(channels.rows[chosen]):
        own = channels.rows == row
        kernel = channels.kernel[own]
        made[row] = np.linalg.lstsq(kernel, change[own], rcond=1e-3)[0]
        missed += float(((kernel @ made[row] - change[own]) ** 2).sum())
    return Sparse(made, chosen, 1 - missed / float((change**2).sum()))


def _deviations(channels: Channels, space: CodeSpace) -> Float[np.ndarray, " c"]:
    """Standard deviation of every channel over the prior."""
    rows = np.minimum(channels.rows, len(space.mean) - 1)
    found = np.zeros(len(rows))
    for row in np.unique(rows):
        along = channels.kernel[rows == row] @ space.eigenvectors[row]
        found[rows == row] = np.sqrt((along**2 * space.eigenvalues[row]).sum(1))
    return found
