"""Official cars and churches as domains: converted by the command, edited by the command line.

Checkpoints have the official layout, random numbers and small widths.
"""

from inspect import signature

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffcam_jax.applications.faces import Choice, read_face
from diffcam_jax.directions import save_directions
from diffcam_jax.editing import window_edit
from diffcam_jax.editor import face_session, whole_edit
from diffcam_jax.editor.editor import Editor
from diffcam_jax.files import domain
from diffcam_jax.files.domain import Domain
from diffcam_jax.inversion import encoding
from diffcam_jax.ops.image import to_unit
from diffcam_jax.pretrained import networks
from diffcam_jax.programs import edit
from tests.fast import fast
from tests.small_editor import direction
from tests.test_paper_combinations import NAMES, converted, inverter, write_classifier

CARS = Domain("cars", 512, "whole", (0.125, 0.125, 0.0, 0.0), licence="research")
CHURCHES = Domain("churches", 256, "square", licence="research")
PROGRAMS = (
    (encoding, "_encode"),
    (face_session, "draw_window"),
    (face_session, "edit_window"),
    (window_edit, "draft"),
    (whole_edit, "edit_batch"),
)
SIZES = {"wide": (480, 640), "tall": (500, 300)}


def made(root, kind: Domain, family: str, rows: int, options: dict[str, object]):
    """A domain of a converted checkpoint, and two pictures of noise."""
    checkpoint = inverter(family, rows, 256) | {"opts": options}
    checkpoint["latent_avg"] += np.float32(0.1)
    converted(root, family, checkpoint)
    write_classifier(root / "classifier")
    save_directions(root / "directions.safetensors", {name: direction(name) for name in NAMES})
    places = {"generator": family, "encoder": family, "classifier": "classifier"}
    domain.write(root, kind, places, "directions.safetensors")
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        # Of little contrast: a product's edit leaves alone what the generator cannot draw.
        Image.fromarray(rng.integers(96, 160, (*size, 3), np.uint8)).save(root / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    options = {"encoder_type": "Encoder4Editing", "dataset_type": "cars_encode"}
    return made(tmp_path_factory.mktemp("cars"), CARS, "e4e", 16, options)


@pytest.fixture(scope="module")
def churches(tmp_path_factory):
    options = {"encoder_type": "GradualStyleEncoder", "dataset_type": "church_encode"}
    return made(tmp_path_factory.mktemp("churches"), CHURCHES, "psp", 14, options)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Programs are compiled quickly, which is most of the time."""
    statics = {"module", "side", "rows", "bars", "config"}
    with pytest.MonkeyPatch.context() as patch:
        for place, name in PROGRAMS:
            program = getattr(place, name).__wrapped__
            known = statics & signature(program).parameters.keys()
            patch.setattr(place, name, fast(program, static_argnames=tuple(known)))
        yield


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def edited(root, names=SIZES, *flags) -> dict[str, np.ndarray]:
    """What the command line makes of pictures; stages are below the output folder."""
    given = [*(root / f"{name}.png" for name in names), "--domain", root, "--attribute", "age=1"]
    given += ["--out", root / "out", "--stages", "--tune", "0", "--jobs", "1", "--force", *flags]
    assert edit.main([str(x) for x in given]) == 0
    return {name: picture(root / "out" / f"{name}.png") for name in names}


def stages(root, name: str) -> dict[str, np.ndarray]:
    """The stages of the edit of a picture, masks [s, s, 3] like the others."""
    return {path.stem: picture(path) for path in (root / "out" / name).glob("*.png")}


BARS = np.r_[:64, 448:512]  # rows of 512


def test_cars_change_but_for_their_bars(cars):
    for name, result in edited(cars).items():
        before, shown = picture(cars / f"{name}.png"), stages(cars, name)
        assert result.shape == before.shape and (result != before).any()
        assert shown["mask"].any() and not shown["mask"][BARS].any()
        assert not shown["aligned"][BARS].any() and not shown["fused"][BARS].any()


def test_not_even_a_mask_by_hand_enters_the_bars(cars):
    Image.new("L", SIZES["wide"][::-1], 255).save(cars / "white.png")
    mask = ("--mask", cars / "white.png", "--mask-mode", "union")
    edited(cars, ["wide"], "--variant", "official", *mask)
    shown = stages(cars, "wide")
    np.testing.assert_array_equal(shown["mask"][..., 0] > 0, CARS.inside(512) > 0)
    assert shown["mask"][65:447].all() and not shown["mask"][BARS].any()
    assert not shown["fused"][BARS].any()


def test_churches_change_in_their_square_alone(churches):
    for name, result in edited(churches, SIZES, "--variant", "official").items():
        changed = (result != picture(churches / f"{name}.png")).any(-1)
        (top, left), side = {"wide": ((0, 80), 480), "tall": ((100, 0), 300)}[name]
        assert changed.any()
        changed[top : top + side, left : left + side] = False
        assert not changed.any()


@pytest.mark.parametrize(("name", "rows"), [("cars", slice(32, 224)), ("churches", slice(256))])
def test_encoders_read_what_is_no_bar(name, rows, request):
    """Codes are those of the very network for the picture, averaged and cut by hand."""
    root = request.getfixturevalue(name)
    editor = Editor.from_pretrained(root)
    kind, places = domain.read(root)
    aligned = read_face(root / "wide.png", kind.size, Choice(domain=kind))
    factor = kind.size // 256
    small = to_unit(aligned).reshape(256, factor, 256, factor, 3).mean((1, 3))[rows]
    assert small.shape == ((192 if name == "cars" else 256), 256, 3)
    network = networks.load(places["encoder"]).network("encoder")
    expected = fast(network)(jnp.asarray(small[None]))[0] + 0.1
    np.testing.assert_allclose(editor.invert(aligned), expected, atol=1e-3)
    assert np.abs(expected - 0.1).max() > 0.1
