"""Steps restricted to regions, rows and channels: planted maps and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.directions import sensitivity, stylespace
from diffcam_jax.directions.acts import REGIONS, WHOLE, Acts
from diffcam_jax.directions.local import localised
from diffcam_jax.directions.sensitivity import NAMES, Sensitivity
from diffcam_jax.directions.space import CodeSpace
from diffcam_jax.directions.styles import at, gain, modulations, with_biases
from diffcam_jax.errors import UserError
from diffcam_jax.nn.conventions import CLASSES
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from tests.random_variables import random_variables

SIZE, ROWS = 8, 3
MODULE = MobileStyleGAN((8, 8, 8, 8, 8), SIZE, 1)  # 128 pixels, 10 rows


def labels_of_a_face() -> np.ndarray:
    """Hair above, then skin with brows, eyes and a mouth; a border of background."""
    labels = np.zeros((256, 256), np.uint8)
    labels[20:240, 40:216] = CLASSES.index("skin")
    labels[20:70, 40:216] = CLASSES.index("hair")
    labels[100:106, 80:120] = CLASSES.index("left_brow")
    labels[118:126, 84:112] = CLASSES.index("left_eye")
    labels[190:200, 100:160] = CLASSES.index("upper_lip")
    return labels


def standard(rows: int = 1) -> CodeSpace:
    eye = np.eye(SIZE, dtype=np.float32)
    return CodeSpace(
        np.zeros((rows, SIZE)), np.repeat(eye[None], rows, 0), np.ones((rows, SIZE), np.float32)
    )


def test_zones_are_disjoint_and_cover_the_picture():
    zones = sensitivity.masks(labels_of_a_face())
    np.testing.assert_array_equal(zones.sum(0), 1)
    areas = dict(zip(NAMES, zones.sum((1, 2)), strict=True))
    assert areas["hair"] == 25 * 88
    # Eyes and lips are a little larger than their classes, by a cross of pixels.
    assert 4 * 14 < areas["eyes"] < (4 + 6) * (14 + 6)
    assert zones[NAMES.index("lower face"), 100, 40] and not zones[NAMES.index("nose"), 100, 40]
    assert zones[NAMES.index("background"), 2, 2]


def test_a_region_is_its_classes_in_its_box():
    labels = labels_of_a_face()
    mask = sensitivity.region_mask(labels, Acts(("skin",), (0.5, 1.0, 0.0, 0.5)))
    assert mask[200, 60] and not mask[100, 60] and not mask[200, 200] and not mask[195, 110]
    assert mask.sum() == np.sum(labels[128:, :128] == CLASSES.index("skin"))
    assert sensitivity.region_mask(labels, Acts((), WHOLE)).all()
    faces = labels[None]
    own = {name: sensitivity.inside(faces, REGIONS[name]) for name in ("hair_color", "smiling")}
    assert [NAMES[i] for i in np.flatnonzero(own["hair_color"])] == ["hair"]
    assert "lips" in np.array(NAMES)[own["smiling"]] and not own["smiling"][NAMES.index("hair")]


@pytest.fixture(scope="module")
def generator() -> Network:
    return Network(MODULE, random_variables(MODULE, jnp.zeros((1, SIZE)), seed=3))


def test_probes_know_what_a_step_changes_where(generator, tmp_path):
    """Against the squared difference of two drawn pictures, zone by zone."""
    code = np.random.default_rng(0).normal(size=(1, 1, SIZE)).astype(np.float32)
    labels = labels_of_a_face()[None]
    found = sensitivity.probe(generator, code, labels, tmp_path, count=48)
    step = np.zeros((wplus_rows(MODULE), SIZE), np.float32)
    step[[1, 4]] = 1e-3 * np.random.default_rng(1).normal(size=(2, SIZE))
    rows = np.repeat(code, len(step), 1)

    def draw(codes):
        return np.asarray(
            MODULE.apply(generator.variables, jnp.asarray(codes), method="synthesis", size=128),
            np.float64,
        )[0]

    change = (draw(rows + step) - draw(rows - step)) / 2
    zones = sensitivity.masks(labels[0])
    expected = [np.mean(change[zone] ** 2) if zone.any() else 0.0 for zone in zones]
    measured = (np.einsum("nzkrs,rs->nzk", found.probes, step) ** 2).mean((0, 2))
    for name, a, b in zip(NAMES, measured, expected, strict=True):
        assert a == pytest.approx(b, rel=0.6), name  # 48 samples of a chi-square: 20 % deviation
    assert np.sum(measured) == pytest.approx(np.sum(expected), rel=0.3)
    # What is on disk is not computed again.
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    again = sensitivity.probe(generator, code, labels, tmp_path, 48)
    np.testing.assert_array_equal(again.probes, found.probes)
    assert path.stat().st_mtime_ns == written


def test_small_pictures_have_no_zones():
    small = MobileStyleGAN((8, 8, 8), SIZE, 1)
    with pytest.raises(UserError, match="32 pixels are too small"):
        sensitivity.probing(small, labels_of_a_face(), 1, 0)


def test_a_localised_step_changes_the_inside_only():
    """Every number of a code changes one zone: the step keeps those of the inside."""
    rng = np.random.default_rng(0)
    n, z, k = 40, len(NAMES), 2
    owner = rng.integers(0, z, (ROWS, SIZE))
    probes = rng.normal(size=(n, z, k, ROWS, SIZE)).astype(np.float32)
    probes *= (owner == np.arange(z)[:, None, None])[:, None]
    inside = np.arange(z) < 3
    found = localised(
        np.ones((ROWS, SIZE), np.float32),
        Sensitivity(probes, np.repeat(labels_of_a_face()[None], n, 0)),
        inside,
        standard(),
        ridge=1e-6,
    )
    np.testing.assert_allclose(found, inside[owner], atol=0.02)
    some = np.ones((ROWS, SIZE), np.float32)
    some[1] = 0
    faces = Sensitivity(probes, np.repeat(labels_of_a_face()[None], n, 0))
    again = localised(some, faces, inside, standard(), ridge=1e-6)
    assert not again[1].any() and np.abs(again[2]).max() > 0.5


def test_a_localised_step_prefers_what_varies():
    """Two numbers do the same; the one with the larger variance is moved more."""
    probes = np.zeros((1, len(NAMES), 1, 1, SIZE), np.float32)
    probes[0, 0, 0, 0, :2] = 1.0
    space = standard()._replace(eigenvalues=np.float32([[4, 1, 1, 1, 1, 1, 1, 1]]))
    inside = np.arange(len(NAMES)) == 0
    step = np.eye(SIZE, dtype=np.float32)[:1]
    found = localised(
        step, Sensitivity(probes, labels_of_a_face()[None]), inside, space, ridge=1e-9
    )
    np.testing.assert_allclose(found[0], [0.8, 0.2, 0, 0, 0, 0, 0, 0], atol=1e-4)


# ---------------------------------------------------------------- style channels


@pytest.mark.parametrize(
    "module",
    [
        MobileStyleGAN((8, 8, 8), 16, 1),
        StyleGAN2Generator((8, 8, 8), 16, 1),
        StyleGAN1Generator((8, 8, 8), 16, 1),
    ],
    ids=lambda module: type(module).__name__,
)
def test_channels_are_those_that_a_row_drives(module):
    """A change of a row is the same change of the biases of its layers."""
    variables = random_variables(module, jnp.zeros((1, 16)), seed=1)
    params, by_row = variables["params"], modulations(module)
    rows = len(by_row)
    codes = jnp.asarray(np.random.default_rng(0).normal(size=(1, rows, 16)), jnp.float32)
    delta = np.random.default_rng(1).normal(size=16).astype(np.float32)
    row = 2  # of StyleGAN2, odd rows also drive colours
    moved = module.apply(variables, codes.at[:, row].add(delta), method="synthesis")
    layers = {path: at(params, path) for path in by_row[row]}
    change = gain(module) * delta
    biases = {path: layer["bias"] + change @ layer["kernel"] for path, layer in layers.items()}
    own = variables | {"params": with_biases(params, biases)}
    same = module.apply(own, codes, method="synthesis")
    assert np.abs(moved - module.apply(variables, codes, method="synthesis")).max() > 1e-4
    np.testing.assert_allclose(same, moved, atol=1e-5)


def planted(channels: int = 30) -> stylespace.Channels:
    """Channels of which the first three change the hair and nothing else, the others everything."""
    rng = np.random.default_rng(0)
    probes = rng.normal(size=(50, len(NAMES), 2, channels)).astype(np.float32)
    probes[:, 1:, :, :3] *= 0.01
    probes[:, 0, :, 3:] *= 0.2
    rows = np.sort(rng.integers(0, ROWS, channels))
    kernel = rng.normal(size=(channels, SIZE)).astype(np.float32)
    return stylespace.Channels(rows, kernel, probes, np.repeat(labels_of_a_face()[None], 50, 0))


def test_sparse_steps_take_the_channels_that_act_inside_only():
    channels = planted()
    step = np.random.default_rng(1).normal(size=(ROWS, SIZE)).astype(np.float32)
    found = stylespace.sparse(step, channels, np.arange(len(NAMES)) == 0, standard(), count=3)
    np.testing.assert_array_equal(found.channels, [0, 1, 2])
    assert 0 < found.realised <= 1
    assert not found.step[[r for r in range(ROWS) if r not in channels.rows[:3]]].any()


def test_a_row_of_few_channels_is_realised_exactly():
    channels = planted(6)
    step = np.random.default_rng(1).normal(size=(ROWS, SIZE)).astype(np.float32)
    found = stylespace.sparse(step, channels, np.arange(len(NAMES)) == 0, standard(), count=3)
    assert found.realised == pytest.approx(1, abs=1e-4)
    change = channels.of(found.step)
    np.testing.assert_allclose(change[3:], 0, atol=1e-4)


def test_channel_probes_are_gradients_by_the_styles(generator):
    """The gradient by a row is the sum of those by its channels, through the layers' kernels."""
    code = np.random.default_rng(0).normal(size=(1, 1, SIZE)).astype(np.float32)
    labels = labels_of_a_face()[None]
    found = stylespace.probe_channels(generator, code, labels, count=1)
    seen = sensitivity.probing(MODULE, labels[0], 1, 0)
    rows = jnp.asarray(np.repeat(code, 10, 1))

    def along(w):
        picture = MODULE.apply(generator.variables, w, method="synthesis", size=128)
        return (picture * seen[0]).sum()

    expected = jax.grad(along)(rows)[0]
    own = found.probes[0, 0, 0]
    summed = np.stack([own[found.rows == r] @ found.kernel[found.rows == r] for r in range(10)])
    np.testing.assert_allclose(summed, expected, atol=1e-4 * np.abs(expected).max() + 1e-6)
