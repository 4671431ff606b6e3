"""The whole of invertibility decomposition on small networks: known pictures and masks, edits,
gradients, what is refused.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.editing import decomposition
from diffcam_jax.editing.alignment import Settings, aligner_for
from diffcam_jax.editing.decomposition import decompose
from diffcam_jax.errors import UserError
from diffcam_jax.inversion.encoding import restyle_loop
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.invertibility import Aligner
from diffcam_jax.nn.mobile_stylegan import MobileStyleGAN
from diffcam_jax.nn.psp import IntoW
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder
from diffcam_jax.nn.stylegan1 import StyleGAN1Generator
from diffcam_jax.ops.image import resize
from tests.small_decomposition import (
    COUNTS,
    MOBILE,
    MOBILE_ENCODER,
    NARROW,
    ROWS,
    SIDE,
    SIDES,
    STYLEGAN2,
    WIDTH,
    WIDTHS,
    decomposed,
    fast,
    fixed,
    networks,
    pictures,
)  # fmt: skip

BODY = {"counts": COUNTS, "widths": WIDTHS, "squeeze": 2}


@pytest.mark.parametrize("generator", [STYLEGAN2, MOBILE], ids=["stylegan2", "embedded"])
def test_masks_of_zero_and_of_one(generator):
    """With nothing out of domain the generator's picture is left alone.

    With everything, the photograph is the result.
    """
    parts = networks(generator, *((MOBILE_ENCODER,) if generator is MOBILE else ()), **NARROW)
    images = pictures(side=generator.resolution)
    ours = decomposed(parts.replace(aligner=fixed(parts.aligner, (0.3, 0.3), -60.0)), images)
    plain = fast(lambda generator, codes: generator(codes, method="synthesis"))(
        parts.generator, ours.codes
    )
    # Pictures of random weights reach 200, where float32 tells no less than 1.5e-5 apart.
    np.testing.assert_allclose(ours.generated, plain, rtol=1e-6, atol=2e-5)
    np.testing.assert_allclose(ours.image, ours.generated, atol=1e-6)
    ours = decomposed(parts.replace(aligner=fixed(parts.aligner, (0.0, 0.0), 60.0)), images)
    inside = (
        slice(7, 11) if generator is STYLEGAN2 else slice(15, 21)
    )  # beyond the blur at 8 pixels and its bicubic enlargement
    np.testing.assert_array_equal(ours.mask[:, inside, inside], 1)
    np.testing.assert_array_equal(ours.image[:, inside, inside], images[:, inside, inside])


@pytest.mark.parametrize("normalised", [True, False], ids=["official", "narrow"])
def test_gradients_reach_everything_that_is_trained(normalised):
    options = {"cycles": 2} if normalised else {"sides": (8,), **NARROW}
    parts = networks(**options)
    images = pictures(1)

    @fast
    def gradients(variables):
        def loss(variables):
            aligner = parts.aligner.replace(variables=variables)
            found = decompose(parts.replace(aligner=aligner), images)
            return jnp.mean((found.generated - images) ** 2) + jnp.mean((found.mask - 0.1) ** 2)

        return jax.grad(loss)(variables)

    found = jax.tree_util.tree_leaves_with_path(gradients(parts.aligner.variables))
    assert all(np.isfinite(leaf).all() for _, leaf in found)
    largest = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.abs(leaf).max()
        for path, leaf in found
    }
    # What adds a constant to a map is taken out again by the instance norms behind it.
    constant = {f"params/encoded_{level}/bias" for level in range(len(parts.aligner.module.sides))}
    if normalised:
        constant |= {f"params/level_{level}/network/block_0/norm2/bias" for level in (0, 1)}
    assert constant < largest.keys()
    assert min(value for name, value in largest.items() if name not in constant) > 1e-5


def test_noise_of_no_strength():
    parts = networks()
    generator = {
        "noise": parts.generator.variables["noise"],
        "params": dict(parts.generator.variables["params"]),
    }
    for name, layer in generator["params"].items():
        if name.startswith("conv"):
            generator["params"][name] = layer | {"strength": jnp.zeros_like(layer["strength"])}
    silent = generator | {"noise": jax.tree.map(jnp.zeros_like, generator["noise"])}
    ours, again = (
        decomposed(parts.replace(generator=parts.generator.replace(variables=changed)), pictures())
        for changed in (generator, silent)
    )
    assert np.isfinite(ours.image).all() and np.ptp(ours.image) > 0
    np.testing.assert_array_equal(ours.image, again.image)


def test_an_edit_is_a_latent_delta_and_codes_may_come_from_elsewhere():
    parts = networks()
    images, delta = pictures(), 0.5 * jnp.ones((ROWS, WIDTH))
    found = decomposed(parts, images)
    edited = decomposed(parts, images, delta)
    np.testing.assert_allclose(edited.codes, found.codes + 0.5, atol=1e-6)
    # The same code again, from twice as far from the average.
    codes = 2 * edited.codes - parts.encoder.latent_avg
    halved = parts.replace(settings=Settings("bilinear", SIDE, truncation=0.5))
    given = decomposed(halved, images, codes=codes)
    np.testing.assert_allclose(given.image, edited.image, atol=1e-4)
    # The same as an argument of the call, which comes before the settings.
    given = fast(lambda parts, share: decompose(parts, images, codes=codes, truncation=share))(
        halved.replace(settings=Settings("bilinear", SIDE, truncation=0.1)), 0.5
    )
    np.testing.assert_allclose(given.codes, edited.codes, atol=1e-4)
    np.testing.assert_allclose(given.image, edited.image, atol=1e-4)
    assert (
        np.abs(edited.generated - found.generated).max() > 1e-2
        and np.abs(edited.mask - found.mask).max() > 1e-4
    )


def test_the_plain_picture_may_be_blended_in_place_of_the_aligned_one():
    parts, images = networks(), pictures()
    moved = decomposed(parts, images)
    plain = fast(lambda parts: decompose(parts, images, aligned=False))(parts)
    np.testing.assert_allclose(plain.mask, moved.mask, atol=1e-6)
    drawn = fast(lambda generator, codes: generator(codes, method="synthesis"))(
        parts.generator, moved.codes
    )
    mask = np.asarray(moved.mask)[..., None]
    np.testing.assert_allclose(plain.image, mask * images + (1 - mask) * drawn, atol=1e-3)


def test_levels_come_in_one_after_the_other():
    parts = networks()
    params = parts.aligner.variables["params"]
    other = jax.tree.map(lambda leaf: leaf + 1, params["level_1"])
    aligner = parts.aligner.replace(variables={"params": params | {"level_1": other}})
    coarse = [
        decomposed(chosen, pictures(), largest=8)
        for chosen in (parts, parts.replace(aligner=aligner))
    ]
    assert [len(found.fields) for found in coarse] == [1, 1]
    np.testing.assert_array_equal(coarse[0].image, coarse[1].image)
    with pytest.raises(UserError, match="no level acts up to 4 pixels; the coarsest is at 8"):
        jax.eval_shape(functools.partial(decompose, largest=4), parts, pictures())


def test_restyle_corrects_its_code_first():
    encoder, chosen = (
        BackboneEncoder(ROWS, True, SIDE, WIDTH, **BODY, channels=8),
        Settings("area", SIDE, 2),
    )
    parts = networks(encoder=encoder, chosen=chosen)
    variables, average = parts.encoder.network.variables, parts.encoder.latent_avg
    codes, maps = fast(decomposition.encode)(parts, pictures())
    images = resize(pictures(), (SIDE, SIDE))
    generate = fast(lambda codes: resize(parts.generator(codes, method="synthesis"), (SIDE, SIDE)))
    first = generate(jnp.broadcast_to(average, (1, ROWS, WIDTH)))
    steps, drawn = restyle_loop(encoder, variables, generate, average, images, first, 2)
    np.testing.assert_allclose(codes, steps[-1], atol=1e-4)
    pair = jnp.concatenate([images, drawn[0]], axis=-1)
    body = fast(lambda v, x: encoder.apply(v, x, method=lambda encoder, x: encoder.body(x)))(
        variables, pair
    )
    for ours, theirs in zip(maps, (body[2], body[1])):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "encoder",
    [Encoder4Editing(ROWS, SIDE, WIDTH, **BODY, channels=8), IntoW(WIDTH, **BODY)],
    ids=["e4e", "into_w"],
)
def test_other_encoders_serve_as_well(encoder):
    parts = networks(encoder=encoder)
    assert parts.aligner.module.inputs == (4, 4)
    shapes = jax.eval_shape(decompose, parts, pictures())
    assert shapes.image.shape == (2, 16, 16, 3) and shapes.codes.shape == (2, ROWS, WIDTH)


def wrong(arguments=None, **modules):
    """Networks and arguments of which one does not go with the others."""
    parts = networks()
    changed = {role: getattr(parts, role).replace(module=m) for role, m in modules.items()}
    return parts.replace(**changed), {"images": pictures()} | (arguments or {})


BAD = {
    "a picture of 32x32 pixels and a generator of 16": lambda: wrong(
        arguments={"images": pictures(side=32)}
    ),
    "a picture of 12x12 pixels and a generator of 16": lambda: wrong(
        arguments={"images": pictures(side=12)}
    ),
    "a picture of 8x16 pixels and a generator of 16": lambda: wrong(
        arguments={"images": pictures()[:, :, :8]}
    ),
    "codes of 18 rows of 6 are another generator's": lambda: wrong(
        arguments={"codes": jnp.zeros((2, 18, 6))}
    ),
    "codes of 4 rows of 6 are another generator's": lambda: wrong(
        arguments={"codes": jnp.zeros((2, 4, 6))}
    ),
    "codes of 6 rows of 512 are another generator's": lambda: wrong(
        arguments={"codes": jnp.zeros((2, 6, 512))}
    ),
    "1 codes for 2 pictures": lambda: wrong(arguments={"codes": jnp.zeros((1, 6, 6))}),
    r"an edit of \(18, 6\) does not fit": lambda: wrong(arguments={"delta": jnp.zeros((18, 6))}),
    "cannot be moved in a StyleGAN1Generator": lambda: wrong(generator=StyleGAN1Generator()),
    r"generators of \(5,\) channels at \(8,\) pixels, this one has \(6,\)": lambda: wrong(
        aligner=Aligner((8,), (5,), (4,))
    ),
    r"reads maps of \(5, 4\) channels, FeatureStyleEncoder has \(4, 4\)": lambda: wrong(
        aligner=Aligner(SIDES, (6, 4), (5, 4))
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_go_together_is_named_in_one_line(message):
    parts, arguments = BAD[message]()
    with pytest.raises(UserError, match=message) as caught:
        jax.eval_shape(decompose, parts, **arguments)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


def test_an_encoder_without_maps_is_named():
    with pytest.raises(
        UserError,
        match="no feature maps of 32, 64, 128, 256 pixels, only of 16, 8, 4, 2, 1; use another",
    ):
        aligner_for(MobileStyleGAN(), MOBILE_ENCODER, Settings(map_size=SIDE))
    encoder = ResNetBackboneEncoder(
        ROWS, size=SIDE, width=WIDTH, counts=(1, 1, 1, 1), widths=(4, 4, 6, 8), channels=8
    )
    with pytest.raises(
        UserError, match="the encoder has no feature maps of 8, 16 pixels, only of none"
    ):
        aligner_for(STYLEGAN2, encoder, Settings(map_size=SIDE, steps=5), sides=SIDES)
