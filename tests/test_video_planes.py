"""Samples and pixels: FFmpeg's own conversion and formulas are the answers."""

import av
import numpy as np
import pytest

from diffcam_jax.video import stored
from diffcam_jax.video.planes import (
    MATRICES,
    UPRIGHT,
    Colours,
    Layout,
    Turn,
    from_rgb,
    layout_of,
    replaced,
    sizes,
    to_rgb,
    turned,
    turned_layout,
)
from tests.clip_files import picture

BT709 = Colours(*MATRICES[1], False)
BT601 = Colours(*MATRICES[6], False)
LAYOUTS = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le", "gbrp", "gray", "yuv410p")


def noise(layout, width=50, height=38):
    rng = np.random.default_rng(3)
    kind = np.uint8 if layout.bits == 8 else np.uint16
    return tuple(rng.integers(0, 2**layout.bits, s, kind) for s in sizes(layout, width, height))


@pytest.mark.parametrize(
    ("number", "name", "full"), [(1, "itu709", 0), (1, "itu709", 1), (5, "itu601", 0)]
)
@pytest.mark.parametrize("format_", ["yuv420p", "yuv422p", "yuv444p", "yuv444p10le"])
def test_pixels_are_those_of_ffmpeg(number, name, full, format_):
    frame = av.VideoFrame.from_ndarray(picture(2))
    ranges = {"src_color_range": "JPEG", "dst_color_range": "JPEG" if full else "MPEG"}
    frame = frame.reformat(format=format_, dst_colorspace=name, **ranges)
    layout = layout_of(format_)
    deep = layout.bits > 8
    expected = frame.reformat(
        format="rgb48le" if deep else "rgb24",
        src_colorspace=name,
        src_color_range="JPEG" if full else "MPEG",
        dst_color_range="JPEG",
    ).to_ndarray()
    made = to_rgb(stored.planes_of(frame, layout), layout, Colours(*MATRICES[number], bool(full)))
    assert made.dtype == expected.dtype
    difference = np.abs(made.astype(int) - expected)
    assert difference.max() <= (3 * 257 if deep else 3)
    # FFmpeg's tables of 8 bits round down.
    assert difference.mean() <= (257 if deep else 1.5)


def test_white_black_and_red_are_the_numbers_of_the_standards():
    pixels = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0]]], np.uint8)
    limited = from_rgb(pixels, Layout("yuv"), BT709)
    assert [p[0].tolist() for p in limited] == [[235, 16, 63], [128, 128, 102], [128, 128, 240]]
    deep = from_rgb(pixels.astype(np.uint16) * 257, Layout("yuv", 10), BT709)
    assert [p[0].tolist() for p in deep] == [[940, 64, 250], [512, 512, 409], [512, 512, 960]]
    full = from_rgb(pixels, Layout("yuv"), Colours(*MATRICES[5], True))
    assert [p[0].tolist() for p in full] == [[255, 0, 76], [128, 128, 85], [128, 128, 255]]


@pytest.mark.parametrize("name", LAYOUTS)
def test_there_and_back_is_what_it_was(name):
    """Of pixels that a picture can have; differences of a block are those of all its pixels."""
    layout = layout_of(name)
    assert layout.name == name
    rng = np.random.default_rng(0)
    small = rng.integers(60, 190, (10, 16, 3), np.uint8)
    if layout.kind == "gray":
        small[:] = small[..., :1]
    pixels = np.repeat(np.repeat(small, layout.down, 0), layout.across, 1)
    if layout.bits > 8:
        pixels = pixels.astype(np.uint16) * 257
    first = from_rgb(pixels, layout, BT601)
    again = from_rgb(to_rgb(first, layout, BT601), layout, BT601)
    for a, b in zip(first, again, strict=True):
        # Eight bits of RGB are coarser than eight bits of full chroma.
        assert np.abs(a.astype(int) - b).max() <= (1 if layout.bits == 8 else 0)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [(50, 38), (51, 39)])
def test_samples_of_untouched_pixels_stay(name, size):
    layout = layout_of(name)
    planes = noise(layout, *size)
    before = to_rgb(planes, layout, BT709)
    touched = np.zeros(size[::-1], bool)
    touched[7:20, 11:30] = touched[-1, -1] = True
    after = np.where(np.ones_like(before, bool), np.iinfo(before.dtype).max - before, before)
    made = replaced(planes, before, after, touched, layout, BT709)
    assert replaced(planes, before, after, np.zeros_like(touched), layout, BT709) is planes
    for number, (old, new) in enumerate(zip(planes, made, strict=True)):
        across, down = (1, 1) if number == 0 else (layout.across, layout.down)
        for y, x in np.argwhere(old != new):
            assert touched[y * down : (y + 1) * down, x * across : (x + 1) * across].any()
    assert (planes[0] != made[0]).sum() > 0.9 * touched.sum()


def test_an_edit_arrives():
    layout = Layout("yuv", 8, 2, 2)
    before = picture(0)
    planes = from_rgb(before, layout, BT601)
    after = before.copy()
    after[10:30, 20:40] = (200, 120, 90)
    touched = np.zeros(before.shape[:2], bool)
    touched[10:30, 20:40] = True
    made = to_rgb(replaced(planes, before, after, touched, layout, BT601), layout, BT601)
    assert np.abs(made.astype(int) - after)[touched].max() <= 2
    assert (made[~touched] == to_rgb(planes, layout, BT601)[~touched]).all()


@pytest.mark.parametrize("turn", [Turn(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv411p", "gbrp"])
@pytest.mark.parametrize("size", [(48, 36), (47, 35)])
def test_turned_planes_show_the_turned_picture(turn, name, size):
    turn, layout = Turn(*map(bool, turn)), layout_of(name)
    planes = noise(layout, *size)
    pixels = to_rgb(planes, layout, BT709)
    expected = pixels.swapaxes(0, 1) if turn.transposed else pixels
    expected = expected[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1]
    made = turned_layout(layout, turn, *size)
    np.testing.assert_array_equal(to_rgb(turned(planes, layout, turn), made, BT709), expected)
    assert turn != UPRIGHT or made == layout


@pytest.mark.parametrize("name", ["nv12", "yuyv422", "p010le", "yuv420p10be", "rgb24", "bgr0"])
def test_other_arrangements_are_taken_apart_without_a_loss(name):
    layout = stored.known(name)
    planes = noise(layout, 48, 36)
    plain = stored.frame_of(planes, layout)
    arranged = plain.reformat(format=name)
    assert arranged.format.name == name
    for a, b in zip(planes, stored.planes_of(arranged, layout), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "name", ["yuva420p", "rgba", "gbrap", "yuv420p11le", "xyz12le", "grayf32le"]
)
def test_other_kinds_are_not_known(name):
    assert stored.known(name) is None
