"""The FFHQ crop against formulas and Pillow, and the way back into the photograph bit by bit."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.align import crop, frame_quad, paste, photo_mask, whole_quad

FEW = settings(max_examples=25, deadline=None, derandomize=True)


def square(centre, side: float, degrees: float) -> np.ndarray:
    """Top left, bottom left, bottom right, top right of a turned square."""
    x = side / 2 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    y = np.array([-x[1], x[0]])
    return np.array(centre) + np.stack([-x - y, -x + y, x + y, x - y])


def wave(x, y):
    """A smooth picture that is known everywhere, in [0.1, 0.9]."""
    phases = np.stack([x / 31 + y / 57, x / 43 - y / 29, (x + y) / 61], axis=-1)
    return 0.5 + 0.4 * np.sin(phases)


def wave_photo(height: int, width: int, dtype=np.uint16) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] + 0.5
    return np.rint(wave(x, y) * np.iinfo(dtype).max).astype(dtype)


def places(quad: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the centres of the crop's pixels lie in the photograph, by bilinear weights of the
    corners.
    """
    v, u = (np.mgrid[0:size, 0:size] + 0.5)[..., None] / size
    xy = (
        (1 - u) * (1 - v) * quad[0]
        + (1 - u) * v * quad[1]
        + u * v * quad[2]
        + u * (1 - v) * quad[3]
    )
    return xy[..., 0], xy[..., 1]


def noise_photo(height: int, width: int, dtype=np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True
    )


@pytest.mark.parametrize(
    ("side", "degrees", "size"),
    [
        (120, 17, 256),
        (256, -30, 256),
        (300, 0, 256),
        (290.7, 8, 128),
        (300, 45, 32),
        (310, 100, 16),
    ],
)
def test_crop_of_a_known_picture(side, degrees, size):
    quad = square((265.3, 251.8), side, degrees)
    cut = crop(wave_photo(500, 530), quad, size)
    assert cut.shape == (size, size, 3) and cut.dtype == np.float32
    np.testing.assert_allclose(
        cut, wave(*places(quad, size)), atol=0.002 if side / size < 4 else 0.012
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_crop_of_the_frame_is_the_picture(dtype):
    photo = noise_photo(128, 128, dtype)
    np.testing.assert_array_equal(
        crop(photo, frame_quad(128, 128), 128), photo.astype(np.float32) / np.iinfo(dtype).max
    )
    corner = np.array([[16.0, 8], [16, 72], [80, 72], [80, 8]])
    np.testing.assert_array_equal(
        crop(photo, corner, 64), photo[8:72, 16:80].astype(np.float32) / np.iinfo(dtype).max
    )


@pytest.mark.parametrize("reduction", [2, 3, 6.4])
def test_crop_does_not_alias(reduction):
    y, x = np.mgrid[0:480, 0:480]
    board = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)
    cut = crop(board, square((240, 240), 320, 10), int(320 / reduction))
    assert np.abs(cut - 0.5).max() < 0.03


def test_crop_agrees_with_pillow_as_ffhq_uses_it():
    """Quad transform at four times the size, bilinear, then Lanczos: FFHQ's own last step."""
    with Image.open(f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg") as image:
        photo = np.array(image.convert("RGB"))
        quad = square((265, 200), 340, -4)
        reference = image.convert("RGB").transform(
            (1024, 1024), Image.Transform.QUAD, quad.ravel(), Image.Resampling.BILINEAR
        )
    reference = np.asarray(reference.resize((256, 256), Image.Resampling.LANCZOS)) / 255
    difference = crop(photo, quad, 256) - reference
    assert np.sqrt(np.mean(difference**2)) < 0.012
    green = reference[..., 1]
    shift, _, _ = phase_cross_correlation(green, green + difference[..., 1], upsample_factor=50)
    assert np.abs(shift).max() <= 0.04  # pixels: only the sharpness differs


def test_crop_beyond_the_border():
    photo = np.clip(noise_photo(300, 300) // 4 + np.array([120, 60, 30]), 0, 255).astype(np.uint8)
    quad = square((90, 150), 240, 0)  # 30 pixels of it lie left of the photograph
    cut = crop(photo, quad, 240)
    assert np.isfinite(cut).all()
    np.testing.assert_array_equal(cut[:, 100:], photo[30:270, 70:210].astype(np.float32) / 255)
    np.testing.assert_allclose(
        cut[:, :3].mean(axis=(0, 1)), np.median(photo, axis=(0, 1)) / 255, atol=0.02
    )
    roughness = cut.std(axis=0).mean(axis=-1)
    assert roughness[:20].max() < roughness[100:].min() * 0.7


@pytest.mark.parametrize("side", [340, 700])
def test_crop_far_beyond_the_border(side):
    cut = crop(wave_photo(100, 90), square((45, 50), side, 30), 64)
    assert cut.shape == (64, 64, 3) and np.isfinite(cut).all() and 0 <= cut.min() <= cut.max() <= 1


@pytest.mark.parametrize(
    "quad",
    [
        square((-50, 100), 200, 0),
        square((100, 400), 300, 10),
        square((100, 100), 10, 0),
        square((100, 100), 1e5, 0),
    ],
)
def test_crop_of_nothing(quad):
    with pytest.raises(UserError, match="does not fit the 200x300 photograph"):
        crop(noise_photo(300, 200), quad, 64)


BARS = (0.125, 0.125, 0.0, 0.0)  # of cars, 512 x 384 in 512 x 512


def test_squares_of_whole_pictures_by_hand():
    assert whole_quad(480, 640, BARS)[[0, 2]].tolist() == [[0, -80], [640, 560]]
    assert whole_quad(600, 400, BARS)[[0, 2]].tolist() == [[-200, -100], [600, 700]]
    # The left half is padding: the picture lies around three quarters of the square's width.
    assert whole_quad(100, 100, (0.0, 0.0, 0.5, 0.0))[[0, 2]].tolist() == [[-100, -50], [100, 150]]
    np.testing.assert_array_equal(whole_quad(9, 9, (0.0,) * 4), frame_quad(9, 9))


def test_a_whole_picture_is_cut_out_exactly_and_black_beyond():
    photo = noise_photo(48, 64)
    cut = crop(photo, whole_quad(48, 64, BARS), 64, "black")
    np.testing.assert_array_equal(cut[8:56], photo.astype(np.float32) / 255)
    assert not cut[:8].any() and not cut[56:].any()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (500, 300), (90, 640), (51, 37)])
def test_only_the_bars_of_a_whole_picture_are_black(height, width):
    """The border is as bright as the middle: nothing beyond it is mixed in."""
    photo = np.full((height, width, 3), 200, np.uint8)
    quad = whole_quad(height, width, BARS)
    cut = crop(photo, quad, 128, "black")
    x, y = places(quad, 128)
    inside = (x > 0) & (x < width) & (y > 0) & (y < height)
    np.testing.assert_allclose(cut, np.repeat(inside[..., None] * 200 / 255, 3, -1), atol=1e-6)


def test_a_picture_that_fills_hardly_a_line_is_refused():
    with pytest.raises(UserError, match="does not fit the 640x50 photograph"):
        crop(noise_photo(50, 640), whole_quad(50, 640, BARS), 128, "black")


@pytest.mark.parametrize(("height", "width"), [(480, 640), (500, 300), (48, 64)])
def test_nothing_beyond_a_whole_picture_is_pasted(height, width):
    """Neither white bars nor black ones are seen in the photograph, at its very border either."""
    photo, quad = np.full((height, width, 3), 100, np.uint8), whole_quad(height, width, BARS)
    shown = crop(np.full_like(photo, 255), quad, 128, "black")
    ones = np.ones((128, 128), np.float32)
    edited = np.where(shown > 0, np.float32(150 / 255), np.float32(1))
    np.testing.assert_array_equal(paste(photo, edited, ones, quad, "black"), 150)
    nothing = crop(photo, quad, 128, "black") + (1 - shown)
    np.testing.assert_array_equal(paste(photo, nothing, ones, quad, "black"), photo)


def test_frame_must_be_square():
    with pytest.raises(UserError, match=r"600x500 .* not square"):
        frame_quad(500, 600)


def quads():
    centre = st.tuples(st.floats(5, 155), st.floats(5, 115))
    return st.builds(square, centre, st.floats(40, 260), st.floats(-180, 180))


@FEW
@given(quads(), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**16))
def test_outside_the_mask_every_bit_is_the_originals(quad, dtype, seed):
    rng = np.random.default_rng(seed)
    photo = noise_photo(120, 160, dtype, seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(64, 64)), 6)
    mask = np.clip(mask / np.abs(mask).max(), 0, 1).astype(np.float32)
    before = photo.copy()
    result = paste(photo, rng.random((64, 64, 3), np.float32), mask, quad)
    where = photo_mask(mask, quad, 120, 160)
    assert (
        result.dtype == dtype
        and where.shape == (120, 160)
        and where.min() >= 0
        and where.max() <= 1
    )
    np.testing.assert_array_equal(result[where == 0], photo[where == 0])
    np.testing.assert_array_equal(photo, before)  # the input is left alone
    if (where > 0.3).any():
        assert (result != photo)[where > 0.3].mean() > 0.5


@FEW
@given(quads(), st.sampled_from([np.uint8, np.uint16]))
def test_a_crop_that_was_not_edited_changes_no_bit(quad, dtype):
    photo = noise_photo(120, 160, dtype)
    np.testing.assert_array_equal(
        paste(photo, crop(photo, quad, 64), np.ones((64, 64), np.float32), quad), photo
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_aligned_picture_takes_the_edit_exactly(dtype):
    photo, edited = noise_photo(128, 128, dtype, 1), noise_photo(128, 128, dtype, 2)
    top = np.iinfo(dtype).max
    quad = frame_quad(128, 128)
    whole = paste(photo, edited.astype(np.float32) / top, np.ones((128, 128), np.float32), quad)
    np.testing.assert_array_equal(whole, edited)
    half = np.zeros((128, 128), np.float32)
    half[:, :50], half[:, 50:60] = 1, 0.25
    blended = paste(photo, edited.astype(np.float32) / top, half, quad)
    mixed = 0.25 * edited[:, 50:60].astype(np.float64) + 0.75 * photo[:, 50:60]  # Eq. 5
    np.testing.assert_array_equal(blended[:, :50], edited[:, :50])
    np.testing.assert_allclose(blended[:, 50:60], mixed, atol=0.51)
    np.testing.assert_array_equal(blended[:, 60:], photo[:, 60:])


@pytest.mark.parametrize("side", [100, 256, 700])
def test_an_edit_arrives_in_its_place(side):
    """Edit a known picture in the crop by a known amount.

    The photograph shows it where the formula says.
    """
    photo = wave_photo(900, 960)
    quad = square((470, 455), side, 12)
    x, y = places(quad, 256)

    def bump(x, y):
        distance = (x - 480) ** 2 + (y - 440) ** 2
        return 0.1 * np.exp(-distance / (2 * (side / 10) ** 2))[..., None]

    edited = (wave(x, y) + bump(x, y)).astype(np.float32)
    result = paste(photo, edited, np.ones((256, 256), np.float32), quad)
    rows, columns = np.mgrid[0:900, 0:960] + 0.5
    expected = wave(columns, rows) + bump(columns, rows)
    inside = np.hypot(columns - 470, rows - 455) < 0.45 * side
    np.testing.assert_allclose(result[inside] / 65535, expected[inside], atol=0.004)


def test_strips_leave_no_trace(monkeypatch):
    photo = wave_photo(500, 480)
    quad = square((240, 250), 300, 20)
    edited, mask = crop(photo, quad, 128)[::-1], np.ones((128, 128), np.float32)
    whole = paste(photo, edited, mask, quad)
    monkeypatch.setattr(align, "_STRIP_PIXELS", 7000)
    # OpenCV rounds places to 1/32 of a pixel, a little differently in each strip.
    np.testing.assert_allclose(paste(photo, edited, mask, quad) / 65535, whole / 65535, atol=0.002)


def test_detail_finer_than_the_crop_stays_under_a_light_edit_and_goes_under_a_strong_one():
    y, x = np.mgrid[0:512, 0:512]
    grain = np.repeat((128 + 20 * (-1.0) ** (x + y))[..., None], 3, axis=-1).astype(
        np.uint8
    )  # the crop sees flat grey
    quad = frame_quad(512, 512)
    cut = crop(grain, quad, 128)
    ones = np.ones((128, 128), np.float32)
    tinted = paste(grain, cut + np.float32(0.01), ones, quad)
    np.testing.assert_allclose(tinted.astype(float) - grain, 0.01 * 255, atol=2)
    repainted = paste(grain, cut + np.float32(0.3), ones, quad)
    np.testing.assert_allclose(repainted, (128 / 255 + 0.3) * 255, atol=2)


def test_mask_of_a_crop_inside_the_photograph_fades_to_its_edges():
    quad = square((100, 90), 120, 25)
    mask = photo_mask(np.ones((256, 256), np.float32), quad, 180, 200)
    y, x = np.mgrid[0:180, 0:200] + 0.5
    along = np.stack([x - 100, y - 90], axis=-1) @ (quad[3] - quad[0]) / 120
    down = np.stack([x - 100, y - 90], axis=-1) @ (quad[1] - quad[0]) / 120
    depth = 60 - np.maximum(np.abs(along), np.abs(down))  # pixels to the nearest edge
    assert np.all(mask[depth < -1.5] == 0)
    np.testing.assert_allclose(mask[depth > 120 / 32 + 1.5], 1, atol=1e-6)
    assert mask[np.abs(depth) < 0.5].max() < 0.1


def test_mask_does_not_fade_where_the_photograph_ends():
    ones = np.ones((64, 64), np.float32)
    np.testing.assert_array_equal(photo_mask(ones, frame_quad(256, 256), 256, 256), 1)
    left_out = photo_mask(
        ones, square((40, 100), 100, 0), 200, 200
    )  # its left edge is 10 pixels outside
    np.testing.assert_array_equal(left_out[60:140, :80], 1)
    assert left_out[100, 89] < 0.1 and left_out[51, 40] < 0.3 and np.all(left_out[:, 91:] == 0)


def test_reduced_mask_keeps_its_area():
    mask = np.zeros((256, 256), np.float32)
    mask[100:140, 60:180] = 1
    small = photo_mask(mask, square((100, 100), 64, 0), 200, 200)
    assert small.sum() == pytest.approx(mask.sum() / 16, rel=1e-3)
    assert small.max() <= 1 and small.min() >= 0


def test_a_quad_must_be_a_parallelogram():
    bent = frame_quad(100, 100)
    bent[2] += 10
    with pytest.raises(ValueError, match="parallelogram"):
        crop(noise_photo(100, 100), bent, 64)
