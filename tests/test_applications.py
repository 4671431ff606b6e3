"""Interpolation, manipulation, mixing and diffusion of codes against closed forms, and what they
refuse.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcam_jax.applications import (
    animation,
    diffusion,
    interpolation,
    manipulation,
    mixing,
    reconstruction,
)
from diffcam_jax.applications.reconstruction import Limits, search
from diffcam_jax.directions import Direction, save_directions
from diffcam_jax.errors import UserError
from diffcam_jax.faces.panel import GAP, HEADER, labelled_grid
from diffcam_jax.files.code_cache import CodeCache
from diffcam_jax.inversion import Inverter, SearchSettings
from diffcam_jax.inversion.encoding import Encoder, read
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, encoder_widths
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.ops.image import from_unit, to_unit
from tests.random_variables import random_variables

K, ROWS, SIDE = 8, 6, 16
PLAIN = SearchSettings(steps=5, rate=0.05, perceptual=0.0, patience=0, size=SIDE)
GENERATOR = Network(
    StyleGAN1Generator((8, 8, 8), K, 2),
    random_variables(StyleGAN1Generator((8, 8, 8), K, 2), jnp.zeros((1, K))),
)
ENCODER_MODULE = InDomainEncoder(encoder_widths(SIDE, 8, 8), ROWS, K)
ENCODER = Encoder(
    Network(ENCODER_MODULE, random_variables(ENCODER_MODULE, jnp.zeros((1, SIDE, SIDE, 3)))),
    np.zeros(K, np.float32),
    0,
    ROWS,
)


def codes(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, ROWS, K)).astype(np.float32)


def pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def inverter():
    return Inverter(GENERATOR, ENCODER, "in_domain", PLAIN)


# ---------------------------------------------------------------- interpolation


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 9), st.integers(0, 99))
def test_interpolation_ends_at_the_codes_and_takes_equal_steps(steps, seed):
    a, b = codes(2, seed)
    path = interpolation.between(a, b, steps)
    np.testing.assert_array_equal(path[[0, -1]], [a, b])
    np.testing.assert_allclose(
        np.diff(path, axis=0),
        np.broadcast_to((b - a) / (steps + 1), (steps + 1, ROWS, K)),
        atol=1e-5,
    )


def test_a_grid_is_bilinear():
    corners, m = codes(4), 4
    grid = interpolation.grid(corners, m - 2)
    y, x = np.meshgrid(np.linspace(0, 1, m), np.linspace(0, 1, m), indexing="ij")
    shares = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], -1)
    np.testing.assert_allclose(grid, np.einsum("yxc,cnk->yxnk", shares, corners), atol=1e-5)
    np.testing.assert_array_equal(grid[[0, 0, -1, -1], [0, -1, 0, -1]], corners)


def test_a_loop_closes():
    corners = codes(3)
    loop = interpolation.loop(corners, 4)
    np.testing.assert_array_equal(loop[::4], corners)
    last_step, first_step = corners[0] - loop[-1], loop[-3] - loop[-4]
    np.testing.assert_allclose(last_step, first_step, atol=1e-5)


def test_impossible_numbers_of_pictures_are_refused():
    with pytest.raises(UserError, match="--steps -1"):
        interpolation.between(*codes(2), -1)
    with pytest.raises(UserError, match="--frames 0"):
        interpolation.loop(codes(2), 0)


def test_animations_repeat_for_ever_and_are_the_same_bytes_again(tmp_path):
    frames = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in (0, 120, 255)])
    for suffix in (".gif", ".webp"):
        one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
        animation.write_animation(one, frames)
        animation.write_animation(two, frames)
        assert one.read_bytes() == two.read_bytes()
        with Image.open(one) as image:
            assert image.n_frames == 3 and image.info["loop"] == 0 and image.size == (SIDE, SIDE)
            image.seek(1)
            np.testing.assert_allclose(np.asarray(image.convert("RGB")), 120, atol=3)
    with pytest.raises(UserError, match=r"\.gif or \.webp"):
        animation.write_animation(tmp_path / "one.mp4", frames)


# ---------------------------------------------------------------- manipulation


def direction(name="smile", array=None, layers=(0, ROWS), generator=""):
    array = np.ones((ROWS, K), np.float32) if array is None else array
    return Direction(name, array, (-2.0, 2.0), layers, generator, "as it is", "by hand", "none")


def test_manipulation_is_a_straight_line_through_the_code():
    code, steps = codes(2), codes(3, seed=1)
    amounts = manipulation.strengths()
    np.testing.assert_array_equal(amounts, [-3, -2, -1, 0, 1, 2, 3])
    moved = manipulation.manipulate(code, [direction(array=step) for step in steps], amounts)
    assert moved.shape == (2, 3, 7, ROWS, K)
    np.testing.assert_array_equal(moved[:, :, 3], np.broadcast_to(code[:, None], (2, 3, ROWS, K)))
    expected = code[1] + 2 * steps[2]
    np.testing.assert_allclose(moved[1, 2, 5], expected, rtol=1e-6)


def test_layers_confine_a_boundary():
    (found,) = manipulation.fitted({"smile": direction()}, ROWS, K, "", (2, 4))
    np.testing.assert_array_equal(found.array.any(1), [False, False, True, True, False, False])
    one_row = direction(array=np.ones((1, K), np.float32), layers=(0, 1))
    (found,) = manipulation.fitted({"smile": one_row}, ROWS, K, "", (5, 6))
    np.testing.assert_array_equal(found.array.any(1), [False] * 5 + [True])


@pytest.mark.parametrize(
    ("given", "layers", "message"),
    [
        (
            direction(array=np.ones((ROWS, K + 1), np.float32)),
            None,
            "6 rows of 9 numbers, the generator reads 6 of 8",
        ),
        (
            direction(array=np.ones((ROWS + 2, K), np.float32), layers=(0, 8)),
            None,
            "8 rows of 8 numbers",
        ),
        (direction(generator="another"), None, "another generator"),
        (direction(), (4, 9), "layers 4 to 9"),
        (
            direction(
                array=np.eye(ROWS, K, dtype=np.float32)[:, :1] * np.ones(K, np.float32),
                layers=(0, 1),
            ),
            (3, 4),
            "nothing",
        ),
    ],
    ids=["length", "rows", "generator", "layers", "empty"],
)
def test_boundaries_that_do_not_fit_are_refused(given, layers, message):
    with pytest.raises(UserError, match=message):
        manipulation.fitted({"smile": given}, ROWS, K, "mine", layers)


def test_boundaries_are_read_from_names_and_files(tmp_path):
    array = np.random.default_rng(0).normal(size=(14, 512)).astype(np.float32)
    np.save(tmp_path / "pose.npy", array[None])
    found = manipulation.read_boundaries(str(tmp_path / "pose.npy"))["pose"]
    np.testing.assert_array_equal(found.array, array)
    np.testing.assert_allclose(
        manipulation.read_boundaries(str(tmp_path / "pose.npy"), 20.0)["pose"].array,
        20 * array,
        rtol=1e-6,
    )
    save_directions(tmp_path / "two.safetensors", {"a": direction("a"), "b": direction("b")})
    assert list(manipulation.read_boundaries(str(tmp_path / "two.safetensors"))) == ["a", "b"]
    assert list(manipulation.read_boundaries("smiling")) == ["smiling"]
    with pytest.raises(UserError, match="did you mean smiling"):
        manipulation.read_boundaries("smilling")
    with pytest.raises(UserError, match="no such file"):
        manipulation.read_boundaries(str(tmp_path / "none.npy"))


@pytest.mark.parametrize(
    "given", [(3.0, -3.0, 7), (-3.0, 3.0, 1), (-np.inf, 3.0, 7), (0.0, np.nan, 7)]
)
def test_impossible_strengths_are_refused(given):
    with pytest.raises(UserError, match="give a range"):
        manipulation.strengths(*given)


# ---------------------------------------------------------------- mixing


@pytest.mark.parametrize("from_layer", [0, 2, ROWS])
def test_mixing_takes_rows_of_the_one_and_the_other(from_layer):
    content, style = codes(2), codes(3, seed=1)
    mixed = mixing.mix(content, style, from_layer)
    assert mixed.shape == (2, 3, ROWS, K)
    for c in range(2):
        for s in range(3):
            np.testing.assert_array_equal(mixed[c, s, :from_layer], content[c, :from_layer])
            np.testing.assert_array_equal(mixed[c, s, from_layer:], style[s, from_layer:])


@pytest.mark.parametrize("from_layer", [-1, ROWS + 1])
def test_layers_that_do_not_exist_are_refused(from_layer):
    with pytest.raises(UserError, match="the generator has 6 layers"):
        mixing.mix(codes(1), codes(1), from_layer)


# ---------------------------------------------------------------- diffusion


def test_the_default_box_is_the_releases():
    mask = diffusion.box_mask(diffusion.BOX, 256)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert len(rows) == len(columns) == 110 and mask.sum() == 110 * 110
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == (125, 145)
    half = diffusion.box_mask(diffusion.BOX, 128)
    np.testing.assert_array_equal(half, mask[::2, ::2])


@pytest.mark.parametrize(
    "box", [(-1, 0, 10, 10), (0, 200, 10, 57), (250, 0, 7, 10), (0, 0, 0, 10), (0, 0, 10, -4)]
)
def test_boxes_outside_the_picture_are_refused(box):
    with pytest.raises(UserError, match="does not lie inside the picture"):
        diffusion.box_mask(box, 64)


def test_stitching_takes_the_very_pixels():
    targets, contexts = pictures(2), pictures(3, seed=1)
    mask = diffusion.box_mask(diffusion.BOX, SIDE)
    stitched = diffusion.stitch(targets, contexts, mask)
    assert stitched.shape == (2, 3, SIDE, SIDE, 3)
    np.testing.assert_array_equal(stitched[1, 2][mask == 1], targets[1][mask == 1])
    np.testing.assert_array_equal(stitched[1, 2][mask == 0], contexts[2][mask == 0])


def test_diffusion_begins_at_the_encoders_code_and_looks_inside_the_mask_alone(inverter):
    targets, contexts = pictures(1), pictures(2, seed=1)
    mask = diffusion.box_mask(diffusion.BOX, SIDE)
    found = diffusion.diffuse(inverter, targets, contexts, mask, Limits(batch=2))
    assert found.codes.shape == (1, 2, ROWS, K) and found.valid.all() and found.start is None

    # From one start, whatever is outside the mask makes no difference to the bit.
    flat = found.stitched.reshape(-1, SIDE, SIDE, 3)
    start = np.asarray(read(GENERATOR, ENCODER, jnp.asarray(to_unit(flat))))
    noise = np.where(mask[None, ..., None] == 1, flat, pictures(2, seed=7))
    one, other = (search(inverter, p, mask, start, Limits(batch=2)).codes for p in (flat, noise))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, found.codes[0], atol=1e-5)
    assert np.abs(one - start).max() > 0.01


def test_diffusion_without_an_encoder_begins_at_the_code_of_the_stitched_picture():
    plain = Inverter(GENERATOR, None, "mse", PLAIN)
    found = diffusion.diffuse(
        plain, pictures(1), pictures(1, seed=1), diffusion.box_mask(diffusion.BOX, SIDE)
    )
    whole = search(plain, found.stitched[0])
    assert found.start is not None
    np.testing.assert_array_equal(found.start.codes, whole.codes)
    assert not np.array_equal(found.codes[0], whole.codes)


def test_a_mask_of_another_size_is_refused(inverter):
    with pytest.raises(
        UserError, match="the mask has 12 x 16 pixels, the aligned faces have 16 x 16"
    ):
        diffusion.diffuse(inverter, pictures(1), pictures(1), np.ones((16, 12), np.float32))
    with pytest.raises(UserError, match="the mask is empty"):
        diffusion.diffuse(inverter, pictures(1), pictures(1), np.zeros((SIDE, SIDE), np.float32))


# ---------------------------------------------------------------- search


def test_batches_are_filled_up_and_give_what_one_by_one_gives(inverter):
    given = pictures(3)
    together = search(inverter, given, limits=Limits(batch=2))
    alone = [
        search(inverter, one[None], limits=Limits(batch=2), full=True).codes[0] for one in given
    ]
    assert together.codes.shape == (3, ROWS, K) and together.valid.all() and together.notes == ()
    np.testing.assert_allclose(together.codes, np.stack(alone), atol=1e-5)


def test_notes_of_a_search_say_which_batch(inverter):
    late = search(inverter, pictures(3), limits=Limits(seconds=1e-9, batch=2))
    assert [note.partition(":")[0] for note in late.notes] == [
        "batch from picture 1",
        "batch from picture 3",
    ]


def test_distances_are_zero_for_the_same_pictures():
    black = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    near = reconstruction.distances(
        black, np.stack([black[0], black[1] + 255]), lambda a, b: np.array([0.0, 0.5])
    )
    assert near == [{"mse": 0.0, "lpips": 0.0}, {"mse": 4.0, "lpips": 0.5}]
    assert from_unit(to_unit(black)).max() == 0


@pytest.mark.weights
def test_codes_of_prior_are_those_that_editing_keeps(tmp_path, monkeypatch):
    """LPIPS is to be had in the cache of every day; codes are looked for in another."""
    import diffcam_jax.files.code_cache as kept
    from diffcam_jax.inversion import PriorSettings

    prior = Inverter(GENERATOR, None, "prior", PriorSettings(steps=1, w_steps=1))
    monkeypatch.setattr(kept, "cache_dir", lambda: tmp_path)
    given, code = pictures(1), codes(1)
    CodeCache(prior.recipe).save(given[0], code[0])
    found = search(prior, given)
    np.testing.assert_array_equal(found.codes, code)
    assert found.known.all() and found.seconds == 0


# ---------------------------------------------------------------- sheets


def test_a_grid_keeps_its_places_and_cuts_long_labels():
    red, blue = (np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    sheet = np.asarray(
        labelled_grid(
            [
                [("", None), ("a name that is far too long for its place", red)],
                [("a", blue), ("a", red)],
            ],
            40,
        )
    )
    height = 40 + HEADER + GAP
    assert sheet.shape == (2 * height, 2 * 40 + 3 * GAP, 3)
    assert (sheet[:height, : 40 + GAP] == 255).all()
    assert (sheet[HEADER + 20, 2 * GAP + 40 + 20] == (255, 0, 0)).all()
    assert (sheet[height + HEADER + 20, GAP + 20] == (0, 0, 255)).all()
    assert (sheet[:HEADER, -GAP:] == 255).all()
