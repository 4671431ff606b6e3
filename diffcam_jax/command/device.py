"""The device that a program computes on, before anything is computed."""

import os

import jax

from diffcam_jax.errors import UserError


def check_device() -> None:
    """Starts JAX's devices, and sees to it that numbers are what networks were made for.

    Raises:
        UserError: there is no device of the kind that JAX_PLATFORMS asks for.
    """
    # Networks are float32 and indices int32, whatever another project set in the environment.
    jax.config.update("jax_enable_x64", False)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts where a named platform is missing
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"JAX finds no device for JAX_PLATFORMS={asked!r}; unset it to compute on the CPU, or "
            "install the package for your device, such as '.[cuda]'"
        ) from error
