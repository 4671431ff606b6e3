"""Pivotal tuning of one generator to several pictures of one person, such as frames of a clip.

Every picture has a pivot of its own; the changes of the generator are the same for all. What one
frame shows of the person is then known in every other one, and nothing of it can flicker. Steps
look at one picture after the other, with the step of `inversion.tuning`: it is compiled once for
both, and a picture more costs no memory.

Source: Tzaban et al., Stitch it in Time (2201.08361), section 4.2, who tune on all frames; here a
few sharp ones stand for the clip.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from diffcam_jax.command.progress import Progress, tell
from diffcam_jax.inversion import optimise, tuning
from diffcam_jax.inversion.adam import initial
from diffcam_jax.inversion.settings import TuningSettings
from diffcam_jax.inversion.tuned_parts import Deltas
from diffcam_jax.nn.network import Network
from diffcam_jax.ops.window import Window


def tune_together(
    generator: Network,
    codes: Float[np.ndarray, "f n k"],
    images: Float[np.ndarray, "f s s 3"],
    window: Window,
    settings: TuningSettings = TuningSettings(),
    progress: Progress = False,
) -> tuple[Deltas, Float[np.ndarray, " steps"]]:
    """Fits one generator to several pictures around their codes.

    Args:
        generator: MobileStyleGAN or StyleGAN2.
        codes: the pivots.
        images: aligned pictures of the generator's size, RGB in [-1, 1].
        window: the part that is fitted, in cells; the same for all.
        settings: rates and weights, and the steps, which the pictures take in turn.
        progress: whether to show a bar with the remaining time, or who is told instead.

    Returns:
        The changes after the last step, without a batch axis, and the loss before every step, of
        the picture whose turn it was. Without a finite loss at the end there are no changes.

    Raises:
        UserError: see `inversion.tuning.tune`.
    """
    ready = tuning.task(generator, window, settings)
    targets = [
        ready.target(code[None], jnp.asarray(image[None]), window)
        for code, image in zip(codes, images, strict=True)
    ]
    state = initial(tuple(np.zeros((1, *shape), np.float32) for shape in ready.shapes.values()))
    losses = []
    hidden = progress is not True
    for index in tqdm(range(settings.steps), "tuning", unit="step", disable=hidden, leave=False):
        tell(progress, "tuning", index, settings.steps)
        state, (loss, _) = optimise.jitted_step(
            ready.problem,
            state,
            ready.frozen,
            targets[index % len(targets)],
            ready.weights,
            tuning.step_settings(settings, ready.deviations, index),
        )
        losses.append(jax.device_get(loss)[0])  # steps wait for each other, as in `optimise`
    history = np.array(losses, np.float32)
    found = jax.device_get(state.unknown)
    usable = np.isfinite(history[-1]) and all(np.isfinite(x).all() for x in found)
    deltas = {
        path: np.asarray(x[0], np.float16) for path, x in zip(ready.shapes, found, strict=True)
    }
    return (deltas if usable else {}), history
