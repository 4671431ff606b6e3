"""Photographic changes: each kind alone, none when off, reproducible, and in a data source."""

import numpy as np
import pytest
import scipy.ndimage

from configs.encoder_mobile import get_config
from diffcam_jax.data import occluders, sources
from diffcam_jax.data.photographic import Photographic

OFF = dict.fromkeys(("align", "light", "objects", "blur", "noise", "compress"), 0.0)
SIDE = 48
# Smooth, with an edge, as pictures are.
PICTURE = scipy.ndimage.gaussian_filter(
    np.random.default_rng(0).uniform(0, 255, (SIDE, SIDE, 3)), (2, 2, 0)
)
PICTURE = np.clip(
    (PICTURE - 127) * 4 + 127 + 40 * (np.arange(SIDE) > 20)[:, None, None], 0, 255
).astype(np.uint8)


def changed(seed=0, **knobs):
    return Photographic(**{**OFF, **knobs})(PICTURE, np.random.default_rng(seed))


@pytest.mark.parametrize("knob", [None, *OFF])
def test_each_change_alone(knob):
    found = [changed(seed, **({knob: 1.0} if knob else {})) for seed in range(20)]
    again = [changed(seed, **({knob: 1.0} if knob else {})) for seed in range(20)]
    for a, b in zip(found, again, strict=True):
        assert a.dtype == np.uint8 and a.shape == PICTURE.shape
        np.testing.assert_array_equal(a, b)
    assert any((a != PICTURE).any() for a in found) == (knob is not None)


def test_the_picture_itself_is_left_alone():
    before = PICTURE.copy()
    for seed in range(10):
        Photographic(**dict.fromkeys(OFF, 1.0))(PICTURE, np.random.default_rng(seed))
    np.testing.assert_array_equal(PICTURE, before)


def test_objects_hide_a_part():
    shares = [(changed(seed, objects=1.0) != PICTURE).any(-1).mean() for seed in range(40)]
    assert 0.05 < np.mean(shares) < 0.5
    assert max(shares) > 0.2


def test_light_keeps_the_order_of_levels_and_is_bounded():
    for seed in range(10):
        found = changed(seed, light=1.0).astype(int)
        for channel in range(3):
            levels = {}
            for before, after in zip(
                PICTURE[..., channel].flat, found[..., channel].flat, strict=True
            ):
                assert levels.setdefault(before, after) == after
            assert (np.diff([levels[level] for level in sorted(levels)]) >= 0).all()
        # Gains of at most 1.1 * 1.05 about the middle, and a tenth of brightness.
        assert abs(found - PICTURE.astype(int)).max() <= 127.5 * (0.1 + 1.1 * 1.05 - 1) + 1


def test_blur_takes_detail_and_noise_has_no_mean():
    def detail(x):
        return np.abs(np.diff(x.astype(float), axis=0)).mean()

    assert all(detail(changed(seed, blur=1.0, sigma=0.03)) < detail(PICTURE) for seed in range(10))
    flat = np.full((64, 64, 3), 128, np.uint8)
    noise = [
        Photographic(**{**OFF, "noise": 1.0})(flat, np.random.default_rng(seed)) - flat.astype(int)
        for seed in range(10)
    ]
    assert max(abs(n.mean()) for n in noise) < 0.3
    assert max(n.std() for n in noise) < 9


def test_alignment_moves_a_little():
    spot = np.zeros((64, 64, 3), np.uint8)
    spot[40:43, 20:23] = 255
    for seed in range(10):
        found = Photographic(**{**OFF, "align": 1.0})(spot, np.random.default_rng(seed))
        centre = scipy.ndimage.center_of_mass(found[..., 0].astype(float))
        assert (
            np.hypot(centre[0] - 41, centre[1] - 21)
            < 64 * (0.02 * 1.42 + 0.2 * (0.04 + np.radians(3))) + 1
        )


def test_a_source_gives_both_pictures_and_is_a_function_of_the_step():
    config = get_config("debug")

    def source(workers, process=0, processes=1):
        config.data.workers = workers
        return sources.make_source(config, 4 // processes, process, processes)

    one, many = source(1), source(3)
    plain = sources.Source(one_records(config), {}, {}, 4, seed=config.seed)
    for step in (5, 0):
        batch = one[step]
        assert {
            name: array.shape for name, array in batch.items() if name != "label"
        } == dict.fromkeys(("image", "target"), (4, 32, 32, 3))
        np.testing.assert_array_equal(batch["target"], plain[step]["image"])
        assert (batch["image"] != batch["target"]).any()
        for name, array in many[step].items():
            np.testing.assert_array_equal(array, batch[name])
            halves = [source(1, process, 2)[step][name] for process in range(2)]
            np.testing.assert_array_equal(np.concatenate(halves), array)
    assert "target" not in one.held_out


def one_records(config):
    from diffcam_jax.data.toy import ToyPictures

    return ToyPictures(config.data.get("count", 1000), config.data.size, config.seed)


def test_surfaces_of_objects():
    """Structure adds no colour and differs most between neighbours.

    Skin has the face's colour; neither is drawn unless asked for.
    """
    rng = np.random.default_rng(0)
    plain = np.full((96, 96, 3), 128, np.float32)
    for _ in range(8):
        found = occluders.grained(plain, rng)
        assert (
            found.std() > 3 and abs(found.mean() - 128) < 3 and np.ptp(found, axis=2).max() < 1e-3
        )
        rough = np.sqrt(
            np.mean((found[..., 0] - scipy.ndimage.uniform_filter(found[..., 0], 15)) ** 2)
        )
        assert rough > 0.7 * found.std()
    face = np.full((96, 96, 3), (200, 150, 120), np.uint8)
    tones = np.array(
        [occluders.skin(face, np.random.default_rng(seed)).mean((0, 1)) for seed in range(8)]
    )
    assert (np.abs(tones / (200, 150, 120) - 1) < 0.25).all() and np.ptp(tones) > 5
    with_objects = {**OFF, "objects": 1.0}
    same = Photographic(**with_objects, skin=0.0, fine=0.0)(PICTURE, np.random.default_rng(3))
    np.testing.assert_array_equal(same, changed(3, objects=1.0))
    assert any(
        (
            Photographic(**with_objects, **{knob: 1.0})(PICTURE, np.random.default_rng(3)) != same
        ).any()
        for knob in ("skin", "fine", "compound")
    )


def test_outlines_of_several_parts_are_one_object():
    """Limbs begin at the body, so an object is connected; `largest` bounds its size."""
    areas = {}
    for largest in (0.2, 0.6):
        masks = [occluders.compound(96, largest, np.random.default_rng(seed)) for seed in range(40)]
        assert all(set(np.unique(mask)) <= {0, 255} for mask in masks)
        pieces = [scipy.ndimage.label(mask, np.ones((3, 3)))[1] for mask in masks]
        assert np.mean(np.array(pieces) <= 1) > 0.8
        areas[largest] = np.mean([mask.mean() for mask in masks])
    assert areas[0.6] > 2 * areas[0.2]
