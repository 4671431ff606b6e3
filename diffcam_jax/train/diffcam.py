"""Training of the DA classifier (2207.08134, section 3.3): cross entropy on which direction was applied.

Batches are those of `data.pairs`: uint8 pictures and int32 labels. The step is pure and has no axis name in it, so that
it can be jitted, donated, or wrapped for several devices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from diffcam_jax.data.augment import AugmentConfig, augment, flippable
from diffcam_jax.nn.classifier import DiffClassifier
from diffcam_jax.train.state import TrainState

Metrics = dict[str, Array]
Step = Callable[[TrainState, dict[str, Array], PRNGKeyArray], tuple[TrainState, Metrics]]


def make_optimiser(
    learning_rate: float, steps: int, warmup: int, weight_decay: float, betas: tuple[float, float] = (0.9, 0.99)
) -> optax.GradientTransformation:
    """Adam with a cosine to 1e-7 (official: 1e-4 without warm-up and decay); decay acts on kernels only."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if warmup else learning_rate, learning_rate, warmup, steps, end_value=1e-7
    )

    def kernels(params: dict) -> dict:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.adamw(schedule, *betas, weight_decay=weight_decay, mask=kernels)


def make_step(
    model: DiffClassifier,
    optimiser: optax.GradientTransformation,
    names: tuple[str, ...],
    *,
    augmentation: AugmentConfig,
    sided: tuple[str, ...] = ("yaw",),
    sign: int = 1,
    label_smoothing: float = 0.0,
) -> Step:
    """The training step.

    Args:
        names: classes in the order of the labels.
        sided: classes whose mirror image is not the same edit.
        sign: of the difference of features, see `diffcam.CamConfig`.
    """

    def step(state: TrainState, batch: dict[str, Array], key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        pictures = (batch[k].astype(jnp.float32) / 127.5 - 1 for k in ("inverted", "edited"))
        inverted, edited = augment(key, *pictures, flippable(batch["label"], names, sided), augmentation)

        def loss_fn(params: dict) -> tuple[Float[Array, ""], tuple[Float[Array, "b n"], dict]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            (logits, _), updates = model.apply(
                variables, inverted, edited, sign=sign, train=True, mutable=["batch_stats"]
            )
            target = optax.smooth_labels(jax.nn.one_hot(batch["label"], len(names)), label_smoothing)
            return optax.softmax_cross_entropy(logits, target).mean(), (logits, updates["batch_stats"])

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"])
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, {"loss": loss, "accuracy": accuracy, "grad_norm": optax.tree.norm(grads)}

    return step


def sample_logits(
    model: DiffClassifier, variables: dict, pictures: UInt8[Array, "_ h w 3"], sign: int = 1
) -> Float[Array, "n n"]:
    """Row c: the scores of edit c of one held-out sample, picture 0 being I'; the features of I' are computed once."""
    images = pictures.astype(jnp.float32) / 127.5 - 1
    features = model.apply(variables, images, method="features")
    return model.apply(variables, sign * (features[1:] - features[:1]), method="head")[0]
