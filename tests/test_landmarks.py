"""Finding faces on real photographs, choosing among them, and landmarks given by hand."""

import json
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import skimage

from diffcam_jax.errors import UserError
from diffcam_jax.faces.landmark_files import read_landmarks_file
from diffcam_jax.faces.landmarks import MAX_FACES, DetectedFace, FaceLandmarker
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.faces.selection import select_faces
from diffcam_jax.pretrained import store

HOPPER = os.path.join(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
ASTRONAUT = os.path.join(os.path.dirname(skimage.__file__), "data", "astronaut.png")
# Read off the picture by eye: left pupil, right pupil, left and right corner of the mouth.
HOPPER_POINTS = np.array([[222.0, 190], [306, 186], [230, 281], [307, 279]])
HOPPER_ROWS = [468, 473, 61, 291]


@pytest.fixture(scope="module")
def landmarker():
    with FaceLandmarker() as opened:
        yield opened


@pytest.fixture(scope="module")
def hopper():
    return read_photo(HOPPER).pixels


@pytest.mark.weights
def test_points_lie_where_the_eye_sees_them(landmarker, hopper):
    (face,) = landmarker.detect(hopper)
    assert face.points.shape == (478, 2) and face.points.dtype == np.float64
    np.testing.assert_allclose(face.points[HOPPER_ROWS], HOPPER_POINTS, atol=8)
    assert face.area == pytest.approx(np.prod(np.ptp(face.points, axis=0)))


@pytest.mark.weights
def test_blendshapes_tell_a_smile(landmarker, hopper):
    (stern,) = landmarker.detect(hopper)
    (smiling,) = landmarker.detect(read_photo(ASTRONAUT).pixels)
    assert len(stern.blendshapes) == 52 and all(
        0 <= score <= 1 for score in stern.blendshapes.values()
    )
    assert stern.blendshapes["mouthSmileLeft"] < 0.1 and smiling.blendshapes["mouthSmileLeft"] > 0.7


@pytest.mark.weights
def test_16_bits_see_what_8_bits_see(landmarker, hopper):
    (deep,) = landmarker.detect(hopper.astype(np.uint16) * 257)
    (plain,) = landmarker.detect(hopper)
    np.testing.assert_array_equal(deep.points, plain.points)


@pytest.mark.weights
@pytest.mark.parametrize("side", [150, 1200])
def test_small_face_in_a_large_photograph(landmarker, hopper, side):
    import cv2

    small = cv2.resize(hopper, (side, side * 600 // 512), interpolation=cv2.INTER_AREA)
    wall = np.full((2400, 3200, 3), 120, np.uint8)
    wall[900 : 900 + len(small), 1700 : 1700 + side] = small
    (face,) = landmarker.detect(wall)
    expected = HOPPER_POINTS * side / 512 + [1700, 900]
    np.testing.assert_allclose(face.points[HOPPER_ROWS], expected, atol=8 * side / 512)
    if side == 150:
        assert landmarker.detect(wall, search=False) == []


@pytest.mark.weights
@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_photograph_on_its_side(landmarker, hopper, quarter_turns):
    height, width = hopper.shape[:2]
    x, y = HOPPER_POINTS.T
    turned = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[quarter_turns]
    (face,) = landmarker.detect(np.ascontiguousarray(np.rot90(hopper, quarter_turns)))
    np.testing.assert_allclose(face.points[HOPPER_ROWS], np.stack(turned, axis=1), atol=8)


@pytest.mark.weights
def test_face_that_fills_its_picture(landmarker, hopper):
    close = hopper[130:330, 175:350]
    (face,) = landmarker.detect(close)
    np.testing.assert_allclose(face.points[HOPPER_ROWS], HOPPER_POINTS - [175, 130], atol=8)


@pytest.mark.weights
def test_several_faces_come_largest_first(landmarker, hopper):
    import cv2

    wall = np.full((900, 1800, 3), 120, np.uint8)
    for left, side in ((100, 250), (700, 500), (1400, 350)):
        wall[100 : 100 + side * 600 // 512, left : left + side] = cv2.resize(
            hopper, (side, side * 600 // 512), interpolation=cv2.INTER_AREA
        )
    faces = landmarker.detect(wall, max_faces=8)
    pupils = [face.points[468, 0] for face in faces]
    np.testing.assert_allclose(
        pupils, [700 + 222 * 500 / 512, 1400 + 222 * 350 / 512, 100 + 222 * 250 / 512], atol=8
    )
    assert faces[0].area > faces[1].area > faces[2].area
    assert len(landmarker.detect(wall, max_faces=2)) == 2


@pytest.mark.weights
@pytest.mark.parametrize("scale", [0.7, 1, 1.5])
def test_all_of_a_group(landmarker, scale):
    """The Solvay conference of 1927 (public domain): 29 people, whatever the picture's size."""
    import cv2

    group = read_photo(os.path.join(os.path.dirname(__file__), "data", "solvay_1927.jpg")).pixels
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    group = cv2.resize(group, None, fx=scale, fy=scale, interpolation=how)
    assert len(landmarker.detect(group, MAX_FACES)) == 29


@pytest.mark.weights
@pytest.mark.parametrize(
    ("height", "width"), [(1000, 20000), (2400, 3200), (700, 900), (4000, 1500), (3000, 3000)]
)
def test_faces_of_any_size_in_pictures_of_any_shape(landmarker, hopper, height, width):
    """Known faces of 24 to 400 pixels, pasted anywhere, are found, and nothing else is."""
    import cv2

    rng = np.random.default_rng(height)
    coarse = rng.integers(60, 190, (height // 40 + 1, width // 40 + 1, 3)).astype(np.uint8)
    wall = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    collins = read_photo(ASTRONAUT).pixels
    # Heads, and how wide the box around MediaPipe's points of their faces is.
    heads = [(hopper[40:360, 110:410], 135), (collins[10:250, 110:340], 70)]
    places: list[tuple[int, int, int, int]] = []
    for number in range(12):
        head, own = heads[number % 2]
        scale = float(np.exp(rng.uniform(np.log(24), np.log(400)))) / own
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        head = cv2.resize(head, None, fx=scale, fy=scale, interpolation=how)
        tall, wide = head.shape[:2]
        for _ in range(200):
            if tall >= height or wide >= width:
                break
            top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
            apart = [
                left + wide < x or x + w < left or top + tall < y or y + h < top
                for x, y, w, h in places
            ]
            if all(apart):
                wall[top : top + tall, left : left + wide] = head
                places.append((left, top, wide, tall))
                break
    found = [face.points.mean(0) for face in landmarker.detect(wall, MAX_FACES)]
    inside = [[x < a < x + w and y < b < y + h for x, y, w, h in places] for a, b in found]
    assert len(places) >= 5
    assert (np.sum(inside, axis=0) == 1).all() and (np.sum(inside, axis=1) == 1).all()


@pytest.mark.weights
@pytest.mark.parametrize("seed", range(3))
def test_no_face(landmarker, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (700, 500, 3), np.uint8)
    assert landmarker.detect(noise, max_faces=4) == []


@pytest.mark.weights
@pytest.mark.parametrize("ending", ["landmarker.close(); landmarker.close()", "pass"])
def test_people_see_nothing_of_mediapipe(ending):
    """Neither while it starts nor at interpreter exit, closed or forgotten.

    What we write ourselves gets through.
    """
    store.fetch("face_landmarker")
    script = (
        "import sys, numpy as np\nfrom diffcam_jax.faces.landmarks import FaceLandmarker\n"
        "print('before', file=sys.stderr)\nlandmarker = FaceLandmarker()\n"
        "landmarker.detect(np.zeros((300, 300, 3), np.uint8))\n"
        f"print('after', file=sys.stderr)\n{ending}\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "before\nafter\n")


def face_of(side: float) -> DetectedFace:
    points = np.linspace(0, side, 956).reshape(478, 2)
    return DetectedFace(points, {}, float(side * side))


def test_select_faces():
    faces = [face_of(30), face_of(20), face_of(10)]
    assert select_faces(faces, "largest") == [faces[0]]
    assert select_faces(faces, "all") == faces
    assert select_faces(faces, 3) == [faces[2]]
    for rank in (0, 4, -1):
        with pytest.raises(UserError, match=f"face {rank} .* 3 found; .* 1 to 3"):
            select_faces(faces, rank)
    with pytest.raises(ValueError, match="smallest"):
        select_faces(faces, "smallest")


@pytest.mark.parametrize("which", ["largest", "all", 1])
def test_select_from_no_face_says_what_to_try(which):
    with pytest.raises(UserError, match=r"no face was found; .*upright.*--landmarks"):
        select_faces([], which)


@pytest.mark.parametrize("count", [5, 68, 478])
def test_landmarks_file(tmp_path, count):
    points = np.random.default_rng(count).uniform(0, 900, (count, 2)).round(3)
    (tmp_path / "points.json").write_text(json.dumps(points.tolist()))
    lines = [
        f"{x}, {y}" if row % 2 else f"{x}\t{y}  # row {row}" for row, (x, y) in enumerate(points)
    ]
    (tmp_path / "points.txt").write_text("# by hand\n\n" + "\n".join(lines) + "\n")
    for name in ("points.json", "points.txt"):
        np.testing.assert_array_equal(read_landmarks_file(tmp_path / name), points)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1 2\n3 4\n",
        b"1 2 3\n" * 5,
        b"1 2\n3\n" * 5,
        b"a b\n" * 5,
        b"nan 1\n" * 5,
        b"1e9 1\n" * 5,
        b"0.1 0.9\n" * 5,
        b"[[1, 2], [3, 4]]",
        b"[[NaN, 2], [1, 2], [1, 2], [1, 2], [1, 2]]",
        b"[[null, 2], [1, 2], [1, 2], [1, 2], [1, 2]]",
        b"[1, 2, 3, 4, 5]",
        b"[" * 100_000,
        b'[{"x": 1}]',
        b"\xff\xfe\x00",
        b"1 2\n" * 500_000,
    ],
)
def test_bad_landmarks_file(tmp_path, content):
    path = tmp_path / "points.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not landmarks .* rows of x and y in pixels") as caught:
        read_landmarks_file(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_landmarks_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_landmarks_file(tmp_path / "none.txt")
