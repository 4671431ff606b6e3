"""Restored pictures of the deghosting network while it trains, and how good they are."""

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.metrics import pixel
from diffcam_jax.ops.image import quantise
from diffcam_jax.pretrained import networks as pretrained
from diffcam_jax.train.deghost_losses import Losses
from diffcam_jax.train.state import Batch, TrainState

BEST_PSNR = 100.0  # stands for equal pictures, whose ratio is infinite
SAMPLE_ROWS = 4


class HeldOut:
    """Restored held-out blends: pictures and numbers.

    Blends that are made on the fly are the same ones each time.

    Args:
        losses: restores blends.
        batch: held-out data.
        config: the whole configuration.
        lpips: measure LPIPS as well.
    """

    def __init__(
        self, losses: Losses, batch: dict[str, np.ndarray], config: ConfigDict, lpips: bool
    ) -> None:
        self._losses, self._batch = losses, batch
        self._size = min(config.batch_size, len(batch["image"]))
        self._key = jax.random.fold_in(jax.random.key(config.seed), 1)
        self._lpips = pretrained.load("lpips").network("lpips_alex") if lpips else None

        @jax.jit
        def look(
            variables: dict, nets: dict, lpips: dict | None, batch: Batch, key: PRNGKeyArray
        ) -> dict[str, Array]:
            fused, target = losses.maker.pair(nets, batch, key)
            pictures = {"fused": fused, "restored": losses.restore(variables, fused).clip(-1, 1)}
            found = {
                f"lpips_{name}": self._distance(lpips, x, target)
                for name, x in pictures.items()
                if lpips
            }
            return {
                name: quantise(x) for name, x in {"original": target, **pictures}.items()
            } | found

        self._look = look

    def rows(self, state: TrainState) -> dict[str, np.ndarray]:
        """Draws rows of original, blend and restored picture."""
        found = self._chunk(state, 0)
        rows = zip(
            *(found[name][:SAMPLE_ROWS] for name in ("original", "fused", "restored")), strict=True
        )
        return {"restored": np.concatenate([np.concatenate(row, 1) for row in rows])}

    def measure(self, state: TrainState) -> dict[str, float]:
        """Measures PSNR and LPIPS of restored pictures and, as the baseline, of the blends.

        "score" is the PSNR of the restored pictures.
        """
        values: dict[str, list[float]] = {}
        for first in range(0, len(self._batch["image"]), self._size):
            found = self._chunk(state, first)
            for name in ("restored", "fused"):
                ratio = np.minimum(pixel.psnr(found[name], found["original"]), BEST_PSNR)
                values.setdefault(f"psnr_{name}", []).extend(ratio)
                if self._lpips is not None:
                    values.setdefault(f"lpips_{name}", []).extend(found[f"lpips_{name}"])
        means = {name: float(np.mean(numbers)) for name, numbers in values.items()}
        return {**means, "score": means["psnr_restored"]}

    def _chunk(self, state: TrainState, first: int) -> dict[str, np.ndarray]:
        part = {name: array[first : first + self._size] for name, array in self._batch.items()}
        count = len(part["image"])
        # A short last part is padded, so that one program serves all.
        part = {
            name: np.concatenate([x, np.repeat(x[-1:], self._size - count, 0)])
            for name, x in part.items()
        }
        nets = {
            name: net.replace(opt_state=None)
            for name, net in state.nets.items()
            if name != "deghoster"
        }
        weights = None if self._lpips is None else self._lpips.variables
        found = self._look(
            self._losses.variables(state), nets, weights, part, jax.random.fold_in(self._key, first)
        )
        return {name: np.asarray(array)[:count] for name, array in found.items()}

    def _distance(self, variables: dict, a: Array, b: Array) -> Float[Array, " b"]:
        return self._lpips.module.apply(variables, a, b)
