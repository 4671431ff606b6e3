"""Checks the inputs of an inversion, before anything is computed."""

import dataclasses
import math

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.inversion import encoding
from diffcam_jax.inversion.methods import METHODS, TUNING, Method
from diffcam_jax.inversion.settings import LONGEST_PATIENCE, AnySettings, TuningSettings

SPACES = ("w+", "w")
# VGG16 halves the side four times before its last layer, and "prior" compares the whole picture at
# a quarter of its side.
SMALLEST = 16


def check_method(method: str, space: str) -> None:
    """Checks the names of a method and of a space of codes.

    Raises:
        UserError: one is unknown.
    """
    if method not in METHODS:
        raise UserError(f"no inversion method is called {method!r}; {suggestion(method, METHODS)}")
    if space not in SPACES:
        raise UserError(f"no space of codes is called {space!r}; choose w+ or w")


def check_settings(method: str, settings: AnySettings) -> None:
    """Checks that settings are those of the method, and possible.

    Raises:
        UserError: names the setting.
    """
    kind = type(METHODS[method].defaults)
    if not isinstance(settings, kind):
        raise UserError(
            f"{method} takes {kind.__name__}, not {type(settings).__name__}; start from "
            f"METHODS[{method!r}].defaults"
        )
    numbers = {
        name: v for name, v in dataclasses.asdict(settings).items() if not isinstance(v, str)
    }
    if bad := [name for name, value in numbers.items() if not (np.isfinite(value) and value >= 0)]:
        raise UserError(
            f"{bad[0]}={numbers[bad[0]]}: settings of an inversion are finite and not negative"
        )
    if settings.steps < 1 and METHODS[method].searches:
        raise UserError("steps=0: take at least one step, or the method encoder, which takes none")
    if settings.patience > LONGEST_PATIENCE:
        raise UserError(
            f"patience={settings.patience}: at most {LONGEST_PATIENCE}; 0 never stops early"
        )
    if isinstance(settings, TuningSettings):  # the generator's own side is compared
        return
    if settings.size < SMALLEST or settings.size & (settings.size - 1):
        raise UserError(
            f"size={settings.size}: the side that is compared is a power of two from {SMALLEST} up"
        )


def check_encoder(
    method: Method,
    encoder: encoding.Encoder | None,
    generator: nn.Module,
    rows: int,
    agrees: bool,
    start: bool,
) -> None:
    """Checks that the method has the encoder it needs, and one that fits the generator.

    Args:
        method: of `METHODS`.
        encoder: may be absent.
        generator: the module.
        rows: of its W+ codes.
        agrees: whether the encoder's agreement is part of the loss.
        start: whether start codes are given.

    Raises:
        UserError: the encoder is missing or does not fit.
    """
    if encoder is None:
        given = method.searches and start and not agrees
        if method.needs_encoder and not given:
            raise UserError(
                f"the method {method.name} needs an encoder; give one, or choose image2stylegan, "
                "mse or prior"
            )
        return
    if encoder.rows != rows:
        raise UserError(
            f"the encoder gives {encoder.rows} rows of W+, the generator of "
            f"{generator.resolution} pixels reads {rows}; use an encoder that was trained for "
            "this generator"
        )
    if encoder.latent_avg.shape[-1] != generator.latent_size:
        raise UserError(
            f"the encoder's codes have {encoder.latent_avg.shape[-1]} numbers, the generator's "
            f"{generator.latent_size}; use an encoder that was trained for this generator"
        )


def check_inputs(
    images: Float[Array | np.ndarray, "b h w c"],
    mask: Float[Array | np.ndarray, "*mask"] | None,
    start: Float[Array | np.ndarray, "*codes"] | None,
    shape: tuple[int, int],
    seconds: float | None,
    restarts: int,
) -> None:
    """Checks that photographs, mask, start codes and limits belong together.

    Args:
        images: see `invert`.
        mask: see `invert`.
        start: see `invert`.
        shape: (rows, length) of the generator's W+ codes.
        seconds: see `invert`.
        restarts: see `invert`.

    Raises:
        UserError: names the input that does not fit.
    """
    if len(images) == 0 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise UserError(
            f"photographs of shape {tuple(images.shape)}: give aligned ones, [b, s, s, 3]"
        )
    if mask is not None:
        if mask.shape != images.shape[:3]:
            raise UserError(
                f"the mask is {_size(mask)}, the photographs are {_size(images[..., 0])}; give "
                "equal sizes"
            )
        values = np.asarray(mask)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise UserError(
                "the mask has values outside [0, 1]; give 1 where the photograph counts and 0 "
                "elsewhere"
            )
        if not values.any((1, 2)).all():
            raise UserError(
                "the mask is empty: nothing of the photograph would count; mark what counts"
            )
    if start is not None:
        if start.shape != (len(images), *shape):
            raise UserError(
                f"start codes of shape {tuple(start.shape)}, this generator's are "
                f"{(len(images), *shape)}; give codes of this generator, one for each photograph"
            )
        if not np.isfinite(np.asarray(start)).all():
            raise UserError(
                "the start codes hold values that are not finite; omit them to begin at the mean "
                "code"
            )
    if seconds is not None and not seconds > 0:
        raise UserError(f"seconds={seconds}: give a time above 0, or none for no limit")
    if restarts < 0:
        raise UserError(f"restarts={restarts}: give 0 or more")


def check_tuning(mask: Array | np.ndarray | None, restarts: int) -> None:
    """Checks that a tuning supports the requested inputs.

    Args:
        mask: see `invert`.
        restarts: see `invert`.

    Raises:
        UserError: names the input that it does not support.
    """
    if mask is not None:
        raise UserError(f"{TUNING} reads whole photographs; omit the mask or choose in_domain")
    if restarts:
        raise UserError(f"{TUNING} has no random starts; omit restarts={restarts}")


def _size(mask: Array | np.ndarray) -> str:
    return " x ".join(str(side) for side in mask.shape)


def check_tuning_settings(settings: TuningSettings) -> None:
    """Checks that settings are possible.

    Raises:
        UserError: names the setting.
    """
    for name, value in dataclasses.asdict(settings).items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{name}={value}: settings of a tuning are finite and not negative")
    if settings.steps < 1:
        raise UserError("steps=0: take at least one step, or omit the tuning")
