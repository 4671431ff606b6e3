"""Endless pictures of a generator, with the codes they were drawn from.

Batches are {"image": uint8 [b, s, s, 3], "code": float32 [b, rows, k]}. A sample is w = mapping(z),
truncated; a share of the samples has its fine layers from a second w. Sample i depends on the seed
and i only, up to rounding: with another batch size the code is the same, and single pixels may
differ by one level.
"""

import functools
import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8, UInt32
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.nn.latents import sample_w, truncate, wplus_rows
from diffcam_jax.ops.image import quantise
from diffcam_jax.pretrained import networks as pretrained

_MEAN_OF = 4096
_EMBEDDED = "mobile_stylegan_ffhq"
_TRAINING, _HELD_OUT = 0, 1  # streams
_AT_ONCE = 8


@flax.struct.dataclass
class Prior:
    """A generator and the distribution of codes that it draws from.

    Attributes:
        model: generator with the methods mapping and synthesis.
        variables: of the generator.
        mean: mean w [k].
        size: side of the pictures, a power of two up to the generator's own.
        psi: truncation; 1 is none.
        mixing: share of the samples with fine layers from a second face.
        seed: of all draws.
    """

    model: nn.Module = flax.struct.field(pytree_node=False)
    variables: Any
    mean: Float[Array, " k"]
    size: int = flax.struct.field(pytree_node=False)
    psi: Any = 1.0
    mixing: Any = 0.0
    seed: Any = 0

    def fingerprint(self) -> str:
        """Returns a hash of the distribution."""
        generator = trees.tree_hash(self.variables["params"])
        facts = f"{self.size} {self.psi} {self.mixing} {self.seed} {generator}"
        return hashlib.sha256(facts.encode()).hexdigest()


def draw_code(
    prior: Prior, stream: UInt32[Array, ""], number: UInt32[Array, ""]
) -> Float[Array, "rows k"]:
    """Draws the W+ code of sample `number` of a stream: 0 is training, 1 is held out."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(prior.seed), stream), number)
    key_z, key_mixed, key_cut = jax.random.split(key, 3)
    w = truncate(sample_w(prior.model, prior.variables, key_z, 2), prior.mean, prior.psi)
    rows = wplus_rows(prior.model)
    mixed = jax.random.uniform(key_mixed) < prior.mixing
    cut = jnp.where(mixed, jax.random.randint(key_cut, (), rows // 3, rows), rows)
    return jnp.where((jnp.arange(rows) < cut)[:, None], w[0], w[1])


def draw(
    prior: Prior, stream: UInt32[Array, ""], numbers: UInt32[Array, " b"]
) -> tuple[UInt8[Array, "b s s 3"], Float[Array, "b rows k"]]:
    """Draws pictures and codes of some samples."""
    codes = jax.vmap(lambda number: draw_code(prior, stream, number))(numbers)
    return quantise(
        prior.model.apply(prior.variables, codes, method="synthesis", size=prior.size)
    ), codes


_draw = jax.jit(draw)


class Drawn:
    """A source (see `data.sources`) of endless samples.

    Args:
        prior: what to draw.
        batch_size: samples that this process brings to a batch.
        held_out: samples for evaluation, of a stream of their own.
        process: number of this process.
        processes: how many there are.
        name: of the generator, for the description.
        flip: mirror each picture with probability one half. A mirrored picture is not the one of
            its code, so codes are left out then.
    """

    def __init__(
        self,
        prior: Prior,
        batch_size: int,
        held_out: int,
        process: int = 0,
        processes: int = 1,
        name: str = "",
        flip: bool = False,
    ) -> None:
        self._prior, self._batch_size, self._flip = prior, batch_size, flip
        self._first, self._whole = process * batch_size, processes * batch_size
        self.held_out = drawn_batch(prior, _HELD_OUT, 0, held_out, batch_size)
        if flip:
            self.held_out.pop("code", None)
        self.description = {"name": name, "count": 0, "sha256": prior.fingerprint()}

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        first = step * self._whole + self._first
        batch = drawn_batch(self._prior, _TRAINING, first, self._batch_size, self._batch_size)
        if not self._flip:
            return batch
        rng = (
            np.random.default_rng((self._prior.seed, first + i)) for i in range(self._batch_size)
        )
        turn = np.array([r.random() < 0.5 for r in rng])[:, None, None, None]
        return {"image": np.where(turn, batch["image"][:, :, ::-1], batch["image"])}


def drawn_batch(
    prior: Prior, stream: int, first: int, count: int, at_once: int
) -> dict[str, np.ndarray]:
    """Draws samples of a stream.

    Args:
        prior: what to draw.
        stream: 0 is training, 1 is held out.
        first: number of the first sample.
        count: of samples.
        at_once: samples drawn at a time, so that a single program is compiled.
    """
    parts = []
    for start in range(first, first + count, at_once):
        numbers = jnp.arange(start, start + at_once, dtype=jnp.uint32)
        parts.append(_draw(prior, jnp.uint32(stream), numbers))
    if not parts:
        return {}
    images, codes = (
        np.concatenate([np.asarray(part[i]) for part in parts])[:count] for i in range(2)
    )
    return {"image": images, "code": codes}


def make_drawn(config: ConfigDict, batch_size: int, process: int = 0, processes: int = 1) -> Drawn:
    """Creates the source of `config.data.source == "generator"`.

    Args:
        config: seed, eval_size, and in `data`: folder, size, psi (1.0) and mixing (0.0) as in
            `make_prior`; flip, see `Drawn`.
        batch_size: samples that this process brings to a batch.
        process: number of this process.
        processes: how many there are.

    Raises:
        UserError: no such generator, or a size it does not draw.
    """
    data = config.data
    prior, name = make_prior(
        data.get("folder", ""),
        data.get("size", 0),
        data.get("psi", 1.0),
        data.get("mixing", 0.0),
        config.seed,
    )
    return Drawn(
        prior, batch_size, config.eval_size, process, processes, name, data.get("flip", False)
    )


def make_prior(
    generator: str, size: int, psi: float, mixing: float, seed: int
) -> tuple[Prior, str]:
    """Loads a prior, and tells the name of its generator.

    Args:
        generator: "" is the embedded one, "toy" a tiny one with random weights, else a folder of
            converted weights.
        size: of the pictures; 0 is the generator's own.
        psi: see `Prior`.
        mixing: see `Prior`.
        seed: see `Prior`.

    Raises:
        UserError: no such generator, or a size it does not draw.
    """
    model, variables, mean, name = _generator(generator)
    size = size or model.resolution
    if not 4 <= size <= model.resolution or size & (size - 1):
        raise UserError(
            f"{size} pixels: the generator draws powers of two from 4 to {model.resolution}; "
            "take one as the size"
        )
    return Prior(model, variables, mean, size, float(psi), float(mixing), seed), name


def draw_dataset(
    name: str,
    count: int,
    out: str | os.PathLike[str],
    *,
    generator: str = "",
    size: int = 0,
    psi: float = 1.0,
    mixing: float = 0.0,
    seed: int = 0,
    test_share: float = 0.05,
) -> dict[str, Any]:
    """Draws a dataset with codes, where drawing while training would be slow.

    An interrupted call continues with the same arguments.

    Args:
        name: of the dataset.
        count: of its pictures.
        out: folder of all datasets.
        generator: see `make_prior`.
        size: see `make_prior`.
        psi: see `Prior`.
        mixing: see `Prior`.
        seed: see `Prior`.
        test_share: exact share of test pictures.

    Returns:
        The recipe: what recipe.json holds.

    Raises:
        UserError: no such generator, or the dataset cannot be made.
    """
    from diffcam_jax.data.builders import encode, make_features, serialise
    from diffcam_jax.data.prepare import check
    from diffcam_jax.data.shards import Job, Made, assemble, shard_length

    prior, drawn_by = make_prior(generator, size, psi, mixing, seed)
    check(name, prior.size, test_share)
    if count < 1:
        raise UserError(f"--count {count}: draw at least one picture")
    features = make_features(prior.size, code_shape=(wplus_rows(prior.model), prior.mean.shape[0]))

    def make(stream: int, split: str, first: int, length: int) -> Iterator[Made]:
        for start in range(first, first + length, _AT_ONCE):
            batch = drawn_batch(
                prior, stream, start, min(_AT_ONCE, first + length - start), _AT_ONCE
            )
            for number, (image, code) in enumerate(zip(batch["image"], batch["code"]), start):
                called = f"{split}/{number:06d}"
                example = {"name": called, "image": io.BytesIO(encode(image)), "code": code}
                digest = hashlib.sha256(image.tobytes() + code.tobytes()).hexdigest()
                yield Made(called, serialise(features, example), digest)

    test, jobs = round(count * test_share), []
    for split, stream, whole in (("train", _TRAINING, count - test), ("test", _HELD_OUT, test)):
        for first in range(0, whole, shard_length(prior.size)):
            length = min(shard_length(prior.size), whole - first)
            jobs.append(Job(split, length, functools.partial(make, stream, split, first, length)))
    plan = {
        "name": name,
        "source": drawn_by,
        "size": prior.size,
        "count": count,
        "test_share": test_share,
    }
    return assemble(out, {**plan, "prior": prior.fingerprint()}, features, jobs, {})


def _generator(folder: str) -> tuple[nn.Module, Any, Array, str]:
    if folder == "toy":
        from diffcam_jax.data.edit_samples import toy_generator

        toy = toy_generator()
        return *toy.generator, toy.mean, folder
    opened = pretrained.load(folder or _EMBEDDED)
    model, variables = opened.network("generator")
    variables = jax.device_put(variables)
    mean = opened.arrays.get("latent_avg")
    if mean is None or np.ndim(mean) != 1:
        mean = jnp.mean(sample_w(model, variables, jax.random.key(0), _MEAN_OF), axis=0)
    return model, variables, jnp.asarray(mean), folder or _EMBEDDED
