"""Objects in front of faces that training never shows: masks, sizes, and unknown kinds."""

import numpy as np
import pytest

from diffcam_jax.data.occluders import HELD_OUT, held_out
from diffcam_jax.errors import UserError


@pytest.mark.parametrize("kind", HELD_OUT)
def test_held_out_objects(kind):
    picture = np.full((96, 96, 3), 120, np.uint8)
    shares = []
    for seed in range(12):
        found, mask = held_out(picture, kind, np.random.default_rng(seed))
        again, _ = held_out(picture, kind, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, again)
        assert set(np.unique(mask)) <= {0, 255}
        edge = np.pad(mask > 0, 2)
        near = np.max([edge[i : i + 96, j : j + 96] for i in range(5) for j in range(5)], 0)
        assert (found[~near] == 120).all()
        shares.append((mask > 0).mean())
    assert min(shares) > 0.01 and max(shares) < 0.35 and np.ptp(shares) > 0
    assert (picture == 120).all()


def test_held_out_objects_of_another_kind():
    with pytest.raises(
        UserError, match="no object is called 'umbrella'; choose from hand, cap, microphone"
    ):
        held_out(np.zeros((32, 32, 3), np.uint8), "umbrella", np.random.default_rng(0))
