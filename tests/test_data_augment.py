"""Augmentation treats both pictures of a pair alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.data.augment import AugmentConfig, augment, flippable

OFF = {"flip": 0.0, "shift": 0, "colour": 0.0, "blur": 0.0, "occlude": 0.0}
PICTURES = jax.random.uniform(jax.random.key(0), (8, 16, 20, 3), minval=-1.0)
YES = jnp.ones(8, bool)
run = jax.jit(augment, static_argnums=4)


@pytest.mark.parametrize(
    "knob", [{}, {"flip": 0.5}, {"shift": 3}, {"colour": 0.3}, {"blur": 0.5}, {"occlude": 0.9}]
)
def test_equal_pictures_stay_equal(knob):
    a, b = run(jax.random.key(1), PICTURES, PICTURES, YES, AugmentConfig(**{**OFF, **knob}))
    np.testing.assert_array_equal(a, b)
    changed = np.asarray((a != PICTURES).any((1, 2, 3)))
    assert changed.any() == bool(knob) and np.abs(a).max() <= 1


def test_flip_is_a_mirror_and_spares_classes_with_a_side():
    names = ("old", "yaw")
    may = flippable(jnp.array([0, 1] * 4), names, ("yaw",))
    np.testing.assert_array_equal(may, [True, False] * 4)
    a, _ = run(jax.random.key(1), PICTURES, PICTURES, may, AugmentConfig(**{**OFF, "flip": 1.0}))
    np.testing.assert_array_equal(a[::2], PICTURES[::2, :, ::-1])
    np.testing.assert_array_equal(a[1::2], PICTURES[1::2])


def test_shift_moves_the_content_at_most_so_far():
    a, _ = run(jax.random.key(1), PICTURES, PICTURES, YES, AugmentConfig(**{**OFF, "shift": 2}))
    padded = np.pad(PICTURES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    offsets = set()
    for picture, source in zip(np.asarray(a), padded):
        found = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if (source[i : i + 16, j : j + 20] == picture).all()
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 3


def test_draws_follow_the_key():
    config = AugmentConfig(shift=3)
    first = run(jax.random.key(1), PICTURES, -PICTURES, YES, config)
    np.testing.assert_array_equal(
        first[1], run(jax.random.key(1), PICTURES, -PICTURES, YES, config)[1]
    )
    assert (first[0] != run(jax.random.key(2), PICTURES, -PICTURES, YES, config)[0]).any()
