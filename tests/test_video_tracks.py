"""Faces over time: paths without jitter and lag, scene cuts, one track per person."""

import matplotlib.cbook
import numpy as np
import pytest
import skimage.data
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.shared import face_landmarker
from diffcam_jax.metrics.identity import Identity
from diffcam_jax.video import smoothing
from diffcam_jax.video.cuts import Cuts
from diffcam_jax.video.samples import candidates, chosen
from diffcam_jax.video.tracks import Track, Tracker, choose


def noisy_path(count, seed=0):
    """A head that sways, and how landmarks see it."""
    t = np.arange(count)
    true = np.column_stack(
        [300 + 60 * np.sin(t / 25), 200 + 0.5 * t, 5 + 0.1 * np.sin(t / 40), 0.1 * np.sin(t / 30)]
    )
    noise = np.random.default_rng(seed).normal(0, 1, true.shape)
    return true, true + noise * 0.006 * np.array([150, 150, 1, 1])


def test_a_smooth_path_is_nearer_to_the_truth_and_does_not_tremble():
    true, measured = noisy_path(200)
    smooth = smoothing.smooth(measured, np.ones(200, bool))
    error = np.square(smooth - true).mean(0) / np.square(measured - true).mean(0)
    assert (error < 0.35).all()
    second = [np.square(np.diff(x, 2, axis=0)).mean(0) for x in (smooth, measured)]
    assert (second[0] < 0.01 * second[1]).all()


def test_it_does_not_trail_behind_and_forwards_is_as_backwards():
    true, measured = noisy_path(120, 3)
    seen = np.ones(120, bool)
    smooth = smoothing.smooth(measured, seen)
    assert abs((smooth - true)[10:-10, 1].mean()) < 0.3  # moves by half a pixel in every frame
    back = smoothing.smooth(measured[::-1], seen)[::-1]
    np.testing.assert_allclose(back[20:-20], smooth[20:-20], rtol=1e-3, atol=0.05)


def test_a_gap_is_bridged_at_constant_velocity():
    path = np.arange(40.0)[:, None] * [2, -1, 0, 0.002] + np.array([100, 300, 5, 0.3])
    seen = np.ones(40, bool)
    seen[15:25] = False
    broken = path.copy()
    broken[15:25] = 1e6
    np.testing.assert_allclose(smoothing.smooth(broken, seen), path, atol=1.0)


def test_squares_and_their_parameters_are_the_same():
    true, _ = noisy_path(10)
    np.testing.assert_allclose(smoothing.parameters(smoothing.quads(true)), true)


def test_a_cut_is_no_pan_and_no_noise():
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        one = np.asarray(Image.open(file).convert("RGB"))
    other = skimage.data.astronaut()
    rng, cuts = np.random.default_rng(0), Cuts()
    frames = [np.roll(one, 4 * i, 1) for i in range(8)] + [
        np.roll(other, -3 * i, 0) for i in range(8)
    ]
    noisy = [np.clip(f + rng.normal(0, 4, f.shape), 0, 255).astype(np.uint8) for f in frames]
    assert [i for i, frame in enumerate(noisy) if cuts.begins(frame)] == [0, 8]


def still(start, count, side, person, weight=None):
    square = np.array([[0, 0], [0, side], [side, side], [side, 0]], float)
    weight = np.ones(count) if weight is None else weight
    embedding = np.eye(3)[person]
    looks = np.zeros((count, 16, 16, 3), np.uint8)
    quads = np.repeat(square[None], count, 0)
    return Track(start, quads, weight, np.ones(count), looks, embedding)


def test_samples_are_sharp_frames_with_nothing_before_the_face():
    track = still(0, 40, 50, 0)
    track.sharpness[:] = np.tile([1, 5], 20)
    track.looks[:] = 100 + np.arange(40)[:, None, None, None] % 3
    track.looks[8:12] = 220  # something passes, and is sharp
    track.sharpness[8:12] = 9
    track.sharpness[20:30] = 0  # not seen
    usual, unusual = candidates(track)
    assert len(usual) == 8 and usual == sorted(usual)
    assert not set(usual) & (set(range(8, 12)) | set(range(20, 30)))
    assert all(track.sharpness[row] == 5 for row in usual)
    assert unusual == [8, 9, 10, 11]


def test_samples_have_room_where_there_is_any():
    assert chosen([1.0] * 8, [1.0] * 6) == [1, 3, 5, 7]
    assert chosen([0.0] * 8, [0.0, 1.0, 0.0, 0.0, 0.0, 0.9]) == [2, 6, 9, 13]  # two usual ones
    assert chosen([0.0, 0.0, 1.0, 0.0], [0.0]) == [0, 1, 2, 3]
    assert chosen([0.0], []) == [0]


def test_the_larger_person_of_every_scene_with_all_of_their_tracks():
    small, large, again = still(0, 20, 50, 0), still(0, 8, 90, 1), still(14, 6, 90, 1)
    later = still(20, 5, 40, 0)
    tracks, cuts = [large, small, again, later], [0, 20]
    assert choose(tracks, cuts, "largest") == [large, again, later]
    assert choose(tracks, cuts, 2) == [small]
    assert choose(tracks, cuts, "all") == tracks
    with pytest.raises(UserError, match="no scene of the clip has a face 3"):
        choose(tracks, cuts, 3)


@pytest.mark.weights
def test_a_scene_may_be_shorter_than_any_track():
    tracker = Tracker(face_landmarker(), lambda pixels, quad: np.full(3, np.nan))
    for _ in range(3):
        tracker.read(skimage.data.astronaut())
    assert [len(track.weight) for track in tracker.finish()] == [3]


@pytest.mark.weights
def test_persons_come_go_hide_and_change_places(tmp_path):
    """Two portraits on a ground; one is hidden for a while, the other one enters late."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = np.asarray(Image.open(file).convert("RGB").resize((256, 303)))
    other = np.asarray(Image.fromarray(skimage.data.astronaut()).crop((80, 0, 368, 300)))
    rng = np.random.default_rng(0)
    ground = np.full((360, 700, 3), 90, np.uint8) + rng.integers(0, 9, (360, 700, 3), np.uint8)
    identity = Identity(batch=1)

    def embed(pixels, quad):
        face = np.round(align.crop(pixels, quad, 256) * 255).astype(np.uint8)
        return identity.embed([face])[0]

    tracker = Tracker(face_landmarker(), embed)
    for i in range(26):
        frame = ground.copy()
        if not 8 <= i < 14:  # hidden for six frames
            frame[20:323, 10 + 2 * i : 266 + 2 * i] = hopper
        if i >= 4:
            frame[30:330, 400:688] = other
        tracker.read(frame)
    tracks = tracker.finish()
    assert tracker.cuts == [0] and len(tracks) == 2
    late, first = sorted(tracks, key=lambda track: -track.start)
    assert first.start == 0 and 4 <= late.start <= 4 + 12
    hidden = first.weight == 0
    assert hidden[8:14].all() and not hidden[:8].any() and not hidden[14:].any()
    assert 0 < first.weight[7] < 1 and first.weight[0] == 1  # it was there when the scene began
    assert late.weight[0] < late.weight[3] < 1 and late.weight[-1] == 1
    moved = np.diff(first.quads.mean(1)[:, 0])
    np.testing.assert_allclose(moved, 2, atol=0.7)
