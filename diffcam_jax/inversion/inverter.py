"""`invert`, and `Inverter`, which holds what several calls with one method and networks share."""

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.command.kept_jit import kept_jit
from diffcam_jax.command.progress import Progress
from diffcam_jax.directions.space import generator_hash
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.inversion import encoding, prior
from diffcam_jax.inversion.adam import CHANCES
from diffcam_jax.inversion.checks import (
    check_encoder,
    check_inputs,
    check_method,
    check_settings,
    check_tuning,
)
from diffcam_jax.inversion.fit import FitProblem, Frozen
from diffcam_jax.inversion.judges import Loaded
from diffcam_jax.inversion.methods import METHODS
from diffcam_jax.inversion.optimise import Minimum, minimise
from diffcam_jax.inversion.pivotal import in_space, invert_by_tuning
from diffcam_jax.inversion.result import Inversion
from diffcam_jax.inversion.settings import AnySettings
from diffcam_jax.inversion.start import mean_code, random_codes
from diffcam_jax.inversion.tuned_parts import check_generator
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.latents import LatentStats, latent_stats, wplus_rows
from diffcam_jax.nn.network import Network

# Shapes are checked with a message, see `checks`.
Photographs = Float[Array | np.ndarray, "b h w c"]


class Inverter:
    """One method for one generator and encoder.

    Args:
        generator: with `mapping`, `synthesis(codes, size)`, `resolution` and `latent_size`.
        encoder: for "in_domain" and "encoder"; "prior" and "mse" begin at its codes if it is given,
            "pivotal_tuning" keeps them as pivots, and without an encoder uses the codes that
            "prior" finds.
        method: a name of `METHODS`.
        settings: `PriorSettings` for "prior", `TuningSettings` for "pivotal_tuning",
            `SearchSettings` for the others; None for the method's defaults (`METHODS`).
        space: "w+", or "w" for one code shared by all rows.
        seed: of the starts of restarts.

    Raises:
        UserError: the method or space is unknown, the settings belong to another method or are
            impossible, or the generator cannot be tuned.
    """

    def __init__(
        self,
        generator: Network,
        encoder: encoding.Encoder | None = None,
        method: str = "prior",
        settings: AnySettings | None = None,
        space: str = "w+",
        seed: int = 0,
    ) -> None:
        check_method(method, space)
        self._way = METHODS[method]
        self.settings = self._way.defaults if settings is None else settings
        check_settings(method, self.settings)
        self.generator, self.encoder, self.method = generator, encoder, method
        self.space, self.seed = space, seed
        self.rows = wplus_rows(generator.module)
        self.size = generator.module.resolution
        if self._way.tunes:
            check_generator(generator)
        else:
            self.size = min(self.settings.size, self.size)

    @functools.cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything its codes depend on besides the picture, ready for JSON."""
        if self._begins is not None:
            began = trees.tree_hash(self._begins.network.variables)
            if self._begins.bars:
                began += f" {self._begins.bars}"
        else:
            began = self._pivots.recipe if self._way.tunes else "mean"
        chosen = getattr(self.generator.module, "chosen", None)  # it decides where the mean is
        return {
            **({} if chosen is None else {"class": chosen}),
            "generator": generator_hash(self.generator),
            "method": self.method,
            "space": self.space,
            "settings": dataclasses.asdict(self.settings) | {"size": self.size},
            "start": began,
        }

    @property
    def _begins(self) -> encoding.Encoder | None:
        """The encoder whose codes are the start of the search."""
        return self.encoder if self._way.from_encoder else None

    @functools.cached_property
    def _pivots(self) -> "Inverter":
        """The search for the pivots of a tuning without an encoder."""
        return Inverter(self.generator, None, "prior", space=self.space)

    @functools.cached_property
    def _judges(self) -> tuple[Loaded, ...]:
        found = self._way.judges(self.settings)
        return tuple(one._replace(variables=jax.device_put(one.variables)) for one in found)

    def _agrees(self, masked: bool) -> bool:
        """Whether the encoder's agreement is part of the loss; it needs whole photographs."""
        return self._way.agrees and self.settings.domain > 0 and not masked

    @functools.cached_property
    def _stats(self) -> LatentStats:
        return jax.jit(latent_stats, static_argnums=0)(*self.generator, jax.random.key(0))

    @functools.cached_property
    def _mean(self) -> Float[Array, "n k"]:
        if self._way.has_prior:
            return jnp.broadcast_to(
                self._stats.mean, (self.rows, self.generator.module.latent_size)
            )
        return mean_code(self.generator, self.rows)

    def _problem(
        self, masked: bool
    ) -> tuple[prior.PriorProblem | FitProblem, prior.Frozen | Frozen]:
        """The minimisation problem, and what stays fixed."""
        given = tuple(one.variables for one in self._judges)
        if self._way.has_prior:
            frozen = prior.Frozen(self.generator, given[0], self._stats)
            return prior.PriorProblem(self.size), jax.device_put(frozen)
        judges = tuple(one.judge for one in self._judges)
        apart = self.settings.offsets != 1
        problem = FitProblem(self.size, self.rows, judges, self._agrees(masked), apart)
        return problem, jax.device_put(Frozen(self.generator, given, self.encoder))

    def _first(self, images: Float[Array, "b s s 3"]) -> Float[Array, "b n k"]:
        if self._begins is not None:
            return encoding.read(self.generator, self._begins, images)
        return jnp.broadcast_to(self._mean, (len(images), *self._mean.shape))

    def __call__(
        self,
        images: Photographs,
        mask: Float[Array | np.ndarray, "..."] | None = None,
        start: Float[Array | np.ndarray, "..."] | None = None,
        seconds: float | None = None,
        restarts: int = 0,
        progress: Progress = False,
    ) -> Inversion:
        """Codes of photographs.

        Args:
            images: see `invert`.
            mask: see `invert`.
            start: see `invert`.
            seconds: see `invert`.
            restarts: see `invert`.
            progress: see `invert`.

        Raises:
            UserError: see `invert`.
        """
        module, begun = self.generator.module, time.perf_counter()
        agrees = self._agrees(mask is not None)
        check_encoder(self._way, self.encoder, module, self.rows, agrees, start is not None)
        check_inputs(images, mask, start, (self.rows, module.latent_size), seconds, restarts)
        images = jnp.asarray(images)
        if not self._way.searches:
            return self._encoded(images, mask, begun)
        if self._way.tunes:
            check_tuning(mask, restarts)
            first = None if start is None else jnp.asarray(start)
            return invert_by_tuning(
                self.generator,
                self.encoder,
                self._pivots,
                images,
                self.settings,
                self.space,
                first,
                seconds,
                progress,
            )
        problem, frozen = self._problem(mask is not None)
        target = _target(problem, frozen, images, None if mask is None else jnp.asarray(mask))
        first = self._first(images) if start is None else jnp.asarray(start)
        found: list[Minimum] = []
        spent, notes = 0.0, []
        for turn in range(restarts + 1):
            if turn:
                key = jax.random.fold_in(jax.random.key(self.seed), turn)
                first = random_codes(self.generator, self._mean, key, len(images))
            remaining = None if seconds is None else seconds - spent
            if remaining is not None and remaining <= 0:
                notes.append(
                    f"{seconds:g} s had passed: {restarts + 1 - turn} of {restarts} restarts "
                    "were not made"
                )
                break
            searched = time.perf_counter()
            result = minimise(
                problem,
                frozen,
                target,
                problem.weights(self.settings),
                problem.unknown(first, self.space),
                self.settings.steps,
                functools.partial(problem.step_settings, self.settings, self.space),
                remaining,
                progress,
            )
            spent += time.perf_counter() - searched - result.compile_seconds
            found.append(result)
            notes += _notes(result, self.settings.steps, seconds)
        loss = np.stack([result.loss for result in found])
        chosen = loss.argmin(0)
        codes = np.stack([np.asarray(problem.codes(result.best)) for result in found])
        history = np.concatenate([result.history for result in found])
        compiled = sum(result.compile_seconds for result in found)
        return Inversion(
            codes=codes[chosen, np.arange(len(images))],
            loss=np.where(np.isinf(loss.min(0)), np.float32(np.nan), loss.min(0)),
            history=history,
            steps=len(history),
            seconds=time.perf_counter() - begun - compiled,
            compile_seconds=compiled,
            notes=tuple(notes),
        )

    def _encoded(self, images: Float[Array, "b s s 3"], mask: Any, begun: float) -> Inversion:
        if mask is not None:
            raise UserError(
                "the method encoder reads whole photographs; omit the mask, or choose in_domain"
            )
        codes = in_space(encoding.read(self.generator, self.encoder, images), self.space)
        loss = np.asarray(_error(*self._problem(False), images, codes))
        codes, seconds = np.asarray(codes), time.perf_counter() - begun
        return Inversion(codes, loss, np.zeros((0, len(codes)), np.float32), 0, seconds, 0.0, ())


@kept_jit(static_argnames="problem")
def _target(
    problem: prior.PriorProblem | FitProblem, frozen: Any, images: Array, mask: Array | None
) -> Any:
    return problem.target(frozen, images, mask)


@kept_jit(static_argnames="problem")
def _error(problem: FitProblem, frozen: Frozen, images: Array, codes: Array) -> Float[Array, " b"]:
    return losses.mse(problem.draw(frozen, codes), problem.target(frozen, images).image)


def _notes(result: Minimum, steps: int, seconds: float | None) -> list[str]:
    """Messages for the user about a search; pictures are counted from 1."""
    notes = []
    for number, (times, loss) in enumerate(zip(result.failures, result.loss, strict=True), start=1):
        if times >= CHANCES:
            best = "there is no code for it" if np.isinf(loss) else "its best code so far is kept"
            notes.append(
                f"picture {number}: loss or gradient was not finite {times} times; given up, {best}"
            )
        elif times:
            notes.append(
                f"picture {number}: loss or gradient was not finite {times} times; continued from "
                f"its best code at {0.5**times:g} of the rate"
            )
    if result.late:
        notes.append(f"stopped after {seconds:g} s, at step {len(result.history)} of {steps}")
    return notes


def invert(
    generator: Network,
    encoder: encoding.Encoder | None,
    images: Photographs,
    method: str = "prior",
    settings: AnySettings | None = None,
    mask: Float[Array | np.ndarray, "..."] | None = None,
    space: str = "w+",
    start: Float[Array | np.ndarray, "..."] | None = None,
    seconds: float | None = None,
    restarts: int = 0,
    progress: Progress = False,
) -> Inversion:
    """Finds the codes of aligned photographs, many in one compiled step.

    Args:
        generator: see `Inverter`, which serves several calls.
        encoder: see `Inverter`.
        images: RGB in [-1, 1], square.
        method: see `Inverter`.
        settings: see `Inverter`.
        mask: [b, s, s] in [0, 1], where the photograph counts; the pictures are multiplied by it
            before they are compared, and the encoder's agreement is omitted (semantic diffusion).
        space: see `Inverter`.
        start: [b, n, k] initial codes, the pivots of "pivotal_tuning"; None for the encoder's or
            the mean code.
        seconds: time limit without compilation; the best so far is the result. If "pivotal_tuning"
            must search for its pivots, half of the time is for that.
        restarts: number of further searches from random codes; the best of all is the result, for
            each picture.
        progress: whether to show a bar with the remaining time, or who is told instead.

    Returns:
        Codes, their loss and the history; for a tuning also the changes of the generator. The same
        input gives the same codes; apart from rounding, a picture's codes do not depend on the rest
        of the batch.

    Raises:
        UserError: see `Inverter`; an encoder is missing or does not fit the generator; the mask has
            another size, the start codes are of another generator, or the time is not positive; a
            mask or restarts are given for "pivotal_tuning"; VGG16 or AlexNet cannot be fetched.

    Reference:
        Abdal et al., Image2StyleGAN (1904.03189); Zhu et al., In-Domain GAN Inversion (2004.00049);
        Roich et al., Pivotal Tuning (2106.05744).
    """
    inverter = Inverter(generator, encoder, method, settings, space)
    return inverter(images, mask, start, seconds, restarts, progress)
