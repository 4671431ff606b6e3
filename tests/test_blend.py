"""Edits that were made elsewhere, taken into their photograph: where, how exactly, and refusals.

The truth is how the edited pictures were made.
"""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.made_up_edits import EDITS, SAVINGS, changed
from diffcam_jax.editing import external
from diffcam_jax.editing.config import VARIANTS, EditConfig, WindowConfig
from diffcam_jax.editing.diffcam import Activation
from diffcam_jax.editor import Editor
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.photo import read_photo
from diffcam_jax.faces.samples import hopper
from diffcam_jax.programs import edit
from tests.fast import fast

HOPPER = read_photo(hopper()).pixels
# Rows: left eye, right eye, nose, corners of the mouth.
LANDMARKS = np.array(
    [[222.3, 192.5], [305.9, 187.9], [266.4, 238.2], [234.3, 279.4], [301.8, 276.8]]
)
QUAD = align.ffhq_quad(LANDMARKS)
take_in = fast(external.take_in, static_argnames="config")


def saved(edit: str, saving: str) -> tuple[np.ndarray, np.ndarray]:
    """The edited photograph, and what another program made of it."""
    edited = EDITS[edit](HOPPER, QUAD) if edit else HOPPER
    return edited, SAVINGS[saving](edited, QUAD)[0]


# ---------------------------------------------------------------- arrays


def test_what_hangs_together_with_a_sure_place_acts():
    evidence = np.ones((40, 40), np.float32)
    evidence[5:20, 5:8] = 2.5
    evidence[10, 6] = 4.5
    evidence[30:35, 30:35] = 3.9  # nowhere sure
    found = external.acting(evidence)
    assert found[5:20, 5:8].all() and found.sum() == 45


def test_a_named_attribute_is_where_its_map_says_in_the_order_that_suits_it():
    maps, logits = np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 3), np.float32)
    maps[1, 2, 2:5], maps[0, 2, 6:] = 0.4, 1.0
    logits[1, 2] = 3.0  # the attribute shows when the pair is turned round: it went
    may = np.ones((1, 8, 8), np.float32)
    may[0, :, 4:] = 0
    places, orders = external.shows(Activation(maps, logits), [2], may, cam=0.3)
    assert orders == [1] and places[2:5, :4].all() and places.sum() == 12


def test_where_nothing_acts_or_may_the_photograph_stays_bit_for_bit():
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    edited = np.clip(images + 0.5, -1, 1)
    acts, may = np.zeros((1, 64, 64), np.float32), np.zeros((1, 64, 64), np.float32)
    may[:, 20:50, 20:50] = 1
    config = EditConfig(window=WindowConfig(membrane=False))  # quicker to compile
    by_hand = np.ones((1, 128, 128), np.float32)
    found = take_in(images, images, edited, acts, may, 0 * may, by_hand, config)
    assert not np.asarray(found.mask).any()
    np.testing.assert_array_equal(found.fused, images)
    acts[:, 30:60, 30:60] = 1
    found = take_in(images, images, edited, acts, may, 0 * may, by_hand, config)
    mask = np.asarray(found.mask)[0]
    assert mask[70:90, 70:90].min() == 1  # the core, enlarged
    assert not mask[:38].any() and not mask[:, :38].any() and not mask[102:].any()
    np.testing.assert_array_equal(np.asarray(found.fused)[0][mask == 0], images[0][mask == 0])


# ---------------------------------------------------------------- the editor


@pytest.fixture(scope="module")
def editor():
    return Editor.from_pretrained()


def checked(result, edited: np.ndarray, pixels: np.ndarray, covered: float) -> np.ndarray:
    """Checks what always holds, and returns the mask in the photograph."""
    weight = align.photo_mask(result.mask, QUAD, *pixels.shape[:2])
    assert result.image.shape == pixels.shape and result.image.dtype == pixels.dtype
    np.testing.assert_array_equal(result.image[weight == 0], pixels[weight == 0])
    assert result.report["untouched_exact"] is True
    assert result.report["untouched_share"] == pytest.approx((weight == 0).mean(), abs=1e-5)
    assert (weight >= 0.5)[changed(HOPPER, edited)].mean() >= covered
    return weight


@pytest.mark.weights
@pytest.mark.parametrize(
    ("edit", "saving", "names"),
    [
        ("nose", "everything", []),
        ("beard", "face crop", []),
        ("mouth", "regenerated", []),
        ("mouth", "JPEG 70", ["smiling", "mouth_open"]),
    ],
)
def test_an_edit_is_taken_and_nothing_else(editor, edit, saving, names):
    edited, picture = saved(edit, saving)
    result = editor.blend(HOPPER, picture, names, landmarks=LANDMARKS)
    weight = checked(result, edited, HOPPER, 0.9)
    same = (edited == HOPPER).all(-1)
    assert (weight == 0)[same].mean() > 0.96
    # Of what did not change, the mask holds a rim; it shows neither tint nor seam.
    moved = (result.image.astype(np.float32) - HOPPER)[same & (weight > 0)]
    assert np.abs(moved.mean(0)).max() < 2
    acted = changed(HOPPER, edited)
    before = np.abs(HOPPER.astype(np.float32) - edited)[acted].mean()
    assert np.abs(result.image.astype(np.float32) - edited)[acted].mean() < 0.6 * before
    face = result.report["faces"][0]
    place = face["registration"]
    assert place["kind"] == ("face crop" if saving == "face crop" else "photograph")
    assert set(face["classifier"]) == set(names) == set(face["changes"])
    assert face["notes"] == [] and set(face["seconds"]) == {"register", "match", "look", "blend"}
    for shown in (result.aligned, result.inverted, result.edited, result.fused):
        assert shown.shape == (512, 512, 3) and shown.dtype == np.uint8
    assert result.latents is None and json.dumps(result.report)


@pytest.mark.weights
@pytest.mark.parametrize("saving", ["everything", "face crop"])
def test_of_a_picture_without_an_edit_nothing_is_taken(editor, saving):
    result = editor.blend(HOPPER, saved("", saving)[1], landmarks=LANDMARKS)
    np.testing.assert_array_equal(result.image, HOPPER)
    assert "no more than noise" in result.report["faces"][0]["notes"][0]


@pytest.mark.weights
def test_16_bits_stay_and_a_mask_by_hand_confines(editor):
    edited, picture = saved("nose", "JPEG 70")
    deep = HOPPER.astype(np.uint16) * 257 + np.uint16(3)
    by_hand = np.zeros(HOPPER.shape[:2], np.float32)
    by_hand[:, :262] = 1
    result = editor.blend(deep, picture, landmarks=LANDMARKS, user_mask=by_hand)
    weight = checked(result, edited, deep, 0.3)
    assert weight.any() and not weight[:, 264:].any()
    assert len(np.unique(result.image[weight > 0] % 257)) > 100  # finer than 8 bits


@pytest.mark.weights
@pytest.mark.parametrize(
    ("names", "choices", "words"),
    [
        (["smilling"], {}, "did you mean smiling"),
        (["smiling", "smiling"], {}, "named twice"),
        ([], {"config": VARIANTS["official"]}, "leave out the method and the variant"),
        ([], {"user_mask": np.ones((5, 5), np.float32)}, "give equal sizes"),
    ],
)
def test_requests_without_a_meaning(editor, names, choices, words):
    with pytest.raises(UserError, match=words):
        editor.blend(HOPPER, HOPPER, names, landmarks=LANDMARKS, **choices)


# ---------------------------------------------------------------- the command


def fails(capsys, arguments: list[str], *words: str) -> None:
    assert edit.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--attribute", "smiling=1"], ["has no strength", "write --attribute smiling"]),
        (["--attribute", "smilin"], ["did you mean smiling"]),
        (["--attribute", "smiling", "--attribute", "smiling"], ["given twice"]),
        (["--tune", "0"], ["--tune has no meaning beside --edited"]),
        (["--raw-strength"], ["--raw-strength has no meaning"]),
        (["--generator", "own"], ["--generator has no meaning"]),
        (["--method", "both"], ["--method has no meaning"]),
        (["--variant", "product"], ["--variant has no meaning"]),
    ],
)
def test_flags_without_a_meaning(tmp_path, capsys, flags, words):
    given = [str(hopper()), "--edited", str(tmp_path / "edited.png"), *flags]
    fails(capsys, [*given, "--out", str(tmp_path / "out")], *words)


def test_one_photograph_alone(tmp_path, capsys):
    Image.fromarray(HOPPER).save(tmp_path / "a.png")
    fails(capsys, [str(tmp_path), "--edited", "b.png", "--out", str(tmp_path / "out")], "alone")


@pytest.mark.weights
def test_the_command_edits_once_and_again_when_the_edited_file_changes(tmp_path, capsys):
    Image.fromarray(HOPPER).save(tmp_path / "photo.png")
    np.savetxt(tmp_path / "points.txt", LANDMARKS)
    file, out = tmp_path / "edited.jpg", tmp_path / "out"
    flags = [str(tmp_path / "photo.png"), "--edited", str(file), "--out", str(out)]
    flags += ["--landmarks", str(tmp_path / "points.txt"), "--stages"]
    fails(capsys, flags, "edited.jpg")  # there is no such file
    edited, picture = saved("nose", "JPEG 70")
    Image.fromarray(picture).save(file, quality=90)
    assert edit.main(flags) == 0
    shown = capsys.readouterr().out
    assert "is a photograph at 1 times" in shown and "seconds" not in shown
    written = np.asarray(Image.open(out / "photo.png"))
    acted = changed(HOPPER, edited)
    assert (written != HOPPER).any(-1)[acted].mean() > 0.9
    assert (written == HOPPER).all(-1)[~acted].mean() > 0.97
    names = ("aligned", "inverted", "edited", "cam_mask", "mask", "fused", "result", "stages")
    assert {p.name for p in (out / "photo").iterdir()} == {f"{name}.png" for name in names}
    assert edit.main(flags) == 0 and "done before" in capsys.readouterr().out
    Image.fromarray(np.dstack([picture, np.full(picture.shape[:2], 99, np.uint8)])).save(
        file.with_suffix(".png")
    )
    flags[2] = str(file.with_suffix(".png"))
    fails(capsys, flags, "transparent", "flattened")
