"""The parts of the web page that need no browser: links, sessions, archives, masks, messages."""

import json
import zipfile
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffcam_jax.directions.importers import read_directions
from diffcam_jax.errors import UserError
from diffcam_jax.files.domain import Domain
from diffcam_jax.service.page import archive, links, photograph, status
from diffcam_jax.service.page.links import Form
from diffcam_jax.service.page.session import Session, Step
from diffcam_jax.service.settings import parse

DIRECTIONS = read_directions(None)
NAMES = list(DIRECTIONS)
BIRDS = Domain("birds", 64, "square")

# In steps of a slider, and within the range of every attribute.
STRENGTHS = st.integers(-30, 40).map(lambda n: n / 20)
# What `Form` is made of; it is made in the test, for checks of types draw random numbers.
FORMS = st.tuples(
    st.tuples(*(st.tuples(st.just(name), STRENGTHS) for name in NAMES)),
    st.one_of(st.just("all"), st.integers(1, 99).map(str)),
    st.sampled_from(links.METHOD_NAMES),
    st.sampled_from(links.MASK_MODES),
    st.integers(0, 100),
    st.booleans(),
)


@given(FORMS)
def test_a_link_gives_the_settings_that_it_was_made_of(parts):
    form = Form(*parts)
    assert links.read(dict(parse_qsl(links.query(form))), DIRECTIONS) == form


def test_a_link_without_settings_is_short():
    assert links.query(Form(tuple((name, 0.0) for name in NAMES))) == ""


@given(st.dictionaries(st.one_of(st.sampled_from([*NAMES, "face", "tune"]), st.text()), st.text()))
def test_any_query_gives_settings_that_the_service_takes(query):
    form = links.read(query, DIRECTIONS)
    parse({**form.asked(), "attributes": {"smiling": 1.0}}, DIRECTIONS)
    for name, value in form.strengths:
        low, high = DIRECTIONS[name].range
        assert low <= value <= high


def test_what_the_page_asks_for_is_what_the_service_understands():
    form = Form((("smiling", 1.0), ("old", 0.0)), "all", "both", "union", 7, True)
    settings = parse(form.asked(), DIRECTIONS)
    assert settings.attributes == {"smiling": 1.0}
    assert (settings.face, settings.method, settings.mask_mode) == ("all", "both", "union")
    assert (settings.tune, settings.aligned) == (7, True)


def step(name: str) -> Step:
    return Step(name, Path(name), {})


def test_undo_and_redo():
    session = Session()
    assert session.shown is None and session.move(-1) is None
    for name in "abc":
        session.add(step(name))
    assert session.move(+1) is None and session.shown.settings == "c"
    assert session.move(-1).settings == "b" and session.move(-1).settings == "a"
    assert session.move(-1) is None and session.move(+1).settings == "b"
    session.add(step("d"))
    assert session.move(+1) is None and session.move(-1).settings == "b"


def packed(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive_:
        for name, content in files.items():
            archive_.writestr(name, content)
    return path


def test_an_archive_is_unpacked_under_names_of_our_own(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    hostile = {"../../up.jpg": b"1", "/root.png": b"22", "a\\b.webp": b"333", "x/.hidden.jpg": b"4"}
    path = packed(tmp_path / "many.zip", **hostile, **{"notes.txt": b"5", "__MACOSX/c.jpg": b"6"})
    found = archive.photographs([path], inside, 1000)
    assert [name for name, _ in found] == ["up.jpg", "root.png", "b.webp"]
    assert [file.read_bytes() for _, file in found] == [b"1", b"22", b"333"]
    assert all(file.parent == inside for _, file in found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inside", "many.zip"]


def test_two_photographs_of_one_name_keep_both_results(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "me.jpg").write_bytes(b"x")
    found = archive.photographs([tmp_path / "a/me.jpg", tmp_path / "b/me.jpg"], tmp_path, 1000)
    assert [name for name, _ in found] == ["me.jpg", "me-2.jpg"]


def test_an_archive_that_grows_is_stopped(tmp_path):
    path = packed(tmp_path / "bomb.zip", **{"a.png": bytes(5_000_000)})
    assert path.stat().st_size < 20_000
    with pytest.raises(UserError, match="too large once unpacked"):
        archive.photographs([path], tmp_path, 1_000_000)
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 2_100_000


def test_a_damaged_archive_and_an_empty_one(tmp_path):
    good = packed(tmp_path / "good.zip", **{"a.png": bytes(range(256)) * 64})
    data = bytearray(good.read_bytes())
    data[60:90] = bytes(30)
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"bad\.zip: the archive is damaged"):
        archive.photographs([tmp_path / "bad.zip"], tmp_path, 1_000_000)
    with pytest.raises(UserError, match="no photograph among these files"):
        archive.photographs([packed(tmp_path / "e.zip", **{"a.txt": b"x"})], tmp_path, 1000)


def test_results_are_packed_with_what_failed(tmp_path):
    (tmp_path / "r").write_bytes(b"picture")
    archive.pack(tmp_path / "o.zip", {"me.png": tmp_path / "r"}, {"you.jpg": "no face"})
    with zipfile.ZipFile(tmp_path / "o.zip") as packed_:
        assert packed_.read("me.png") == b"picture"
        assert json.loads(packed_.read("errors.json")) == {"you.jpg": "no face"}


def square(x: float, y: float, half: float) -> np.ndarray:
    corners = [(-half, -half), (-half, half), (half, half), (half, -half)]
    return np.array([x, y]) + np.array(corners)


def test_a_click_chooses_the_face_under_it():
    preview = np.zeros((100, 200, 3), np.uint8)
    quads = [square(100, 200, 80), square(220, 200, 80)]  # of a photograph twice as large
    session = Session(Path("x"), "x", None, (400, 200), preview, quads)
    assert photograph.face_at(session, 45.0, 100.0) == "1"
    assert photograph.face_at(session, 75.0, 100.0) == "1"  # in both squares, nearer to the first
    assert photograph.face_at(session, 100.0, 100.0) == "2"
    assert photograph.face_at(session, 199.0, 5.0) is None


def test_what_is_painted_becomes_a_mask_of_the_photographs_size():
    preview = np.zeros((50, 100, 3), np.uint8)
    session = Session(Path("x"), "x", None, (400, 200), preview)
    layer = np.zeros((50, 100, 4), np.uint8)
    assert photograph.painted_mask(session, {"layers": [layer]}) is None
    assert photograph.painted_mask(session, None) is None
    layer[10:30, 20:60] = 255
    mask = photograph.painted_mask(session, {"layers": [layer]})
    assert mask.shape == (200, 400)
    assert mask[60, 160] == 255 and mask[10, 10] == 0 and mask[100, 390] == 0
    with pytest.raises(UserError, match="another photograph"):
        photograph.painted_mask(session, {"layers": [layer[:40]]})


def test_messages_carry_no_markup_from_outside():
    assert "<script>" not in status.problem("<script>alert(1)</script>.jpg: not a picture")
    assert "&lt;script&gt;" in status.problem("<script>")


def test_a_photograph_is_opened_with_its_faces(tmp_path):
    from diffcam_jax.faces import samples

    session = photograph.open_photograph(samples.hopper(), "hopper.jpg", 10_000_000, tmp_path)
    with Image.open(samples.hopper()) as picture:
        assert session.size == picture.size
        pixels = np.asarray(picture.convert("RGB"))
    with Image.open(session.before) as before:
        assert (np.asarray(before) == pixels).all()
    assert len(session.quads) == 1
    assert photograph.face_choices(session) == [("the face", "1")]
    boxed = photograph.boxed(session, "1")
    assert boxed.shape == session.preview.shape and (boxed != session.preview).any()


def test_of_pictures_without_faces_the_middle_is_edited(tmp_path):
    photo = tmp_path / "bird.png"
    Image.new("RGB", (90, 60), "#7090a0").save(photo)
    session = photograph.open_photograph(photo, "bird.png", 10_000, tmp_path, BIRDS)
    (quad,) = session.quads
    np.testing.assert_allclose((quad.min(0), quad.max(0)), ((15, 0), (75, 60)), atol=0.5)
    boxed = photograph.boxed(session, "1", BIRDS)
    drawn = np.flatnonzero((boxed != session.preview).any((0, 2)))
    assert abs(drawn[0] - 15) < 5 and abs(drawn[-1] - 75) < 5
