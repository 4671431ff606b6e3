"""The networks around an encoder in training: the frozen generator, what judges pictures, and the
encoder itself.

kind         network                                              codes
psp          pyramid of heads, or one pooled head (small)         average code + offsets
e4e          pyramid; rows are the first one + deltas             average code + offsets
restyle      all heads on the last map, in a loop                 average code + sum of corrections
indomain     residual network with a dense head                   absolute
traditional  the same                                             absolute
mobile       MobileNetV2, a pyramid, one w and shared heads        average code + offsets
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import ModelFolder
from diffcam_jax.losses import networks as perceptual
from diffcam_jax.losses import picture as losses
from diffcam_jax.nn.e4e import Encoder4Editing
from diffcam_jax.nn.indomain_encoder import InDomainEncoder, InDomainTrainingEncoder, encoder_widths
from diffcam_jax.nn.latents import latent_stats, sample_w, wplus_rows
from diffcam_jax.nn.mobile_encoder import MobileEncoder
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.psp import GradualStyleEncoder, IntoWPlus
from diffcam_jax.nn.restyle import BackboneEncoder, ResNetBackboneEncoder
from diffcam_jax.nn.stylegan2 import StyleGAN2Generator
from diffcam_jax.pretrained import networks as pretrained

# Fields of the configuration, or of its model, that belong to a kind.
KINDS = {
    "psp": {"heads"},
    "e4e": {"stages", "discriminator"},
    "restyle": {"passes"},
    "indomain": {"released", "discriminator"},
    "traditional": {"released"},
    "mobile": {"rank"},
}
TOY_WIDTHS, TOY_LATENT = (16, 16, 16), 32
MEAN_DRAWS = 10_000
# Along the first forty principal axes of the embedded W a standard deviation is at least 0.5.
# Pictures change with an axis's variance (a mean squared error of 0.004 for half a deviation at
# variance 1, 0.00002 at 0.05): counted alike, the faint axes would be most of a loss.
WHITENING_EPSILON = 0.3

Pictures = Float[Array, "b s s 3"]


class Distance(NamedTuple):
    """A distance of two pictures through a frozen network: `function(variables, pred, target)` is
    [b].
    """

    variables: dict[str, Any]
    function: Callable[[dict, Array, Array], Array]


def load_generator(source: str) -> ModelFolder:
    """The folder whose generator an encoder is trained for.

    Args:
        source: a folder of converted weights, "" for the embedded generator, "toy" for a tiny one
            with random weights.

    Raises:
        UserError: no such folder, or it has no generator.
    """
    if source == "toy":
        module = StyleGAN2Generator(TOY_WIDTHS, TOY_LATENT, mapping_layers=2)
        variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, TOY_LATENT)))
        return ModelFolder({"generator": Network(module, variables)}, {}, {"kind": "toy"})
    folder = pretrained.load(source or "mobile_stylegan_ffhq")
    folder.network("generator")
    return folder


def code_moments(
    folder: ModelFolder, seed: int
) -> tuple[Float[Array, "*rows k"], Float[Array, "*rows k"]]:
    """Average code and the deviation of every entry, over draws of the mapping network.

    Returns:
        [k] each, [n, k] where every row has a mapping of its own. The average is the folder's own
        where it has one.
    """
    module, variables = folder.network("generator")
    codes = jax.jit(sample_w, static_argnums=(0, 3))(
        module, variables, jax.random.key(seed), MEAN_DRAWS
    )
    return jnp.array(folder.arrays.get("latent_avg", codes.mean(0))), codes.std(0)


def whitening(folder: ModelFolder, seed: int) -> tuple[Float[Array, "k k"], Float[Array, "k k"]]:
    """Matrices that, from the right, bring differences of codes [..., k] to about standard
    deviations of the prior, and back.

    As `latents.whiten`, with an epsilon by which the axes that pictures hardly show count less.
    """
    module, variables = folder.network("generator")
    stats = jax.jit(latent_stats, static_argnums=(0, 3))(
        module, variables, jax.random.key(seed), MEAN_DRAWS
    )
    scale = jnp.sqrt(stats.eigenvalues + WHITENING_EPSILON)
    return stats.eigenvectors / scale, (stats.eigenvectors * scale).T


def make_encoder(config: ConfigDict, generator: nn.Module) -> nn.Module:
    """The encoder of a configuration, with as many rows as the generator's family has.

    Raises:
        UserError: a value that cannot be.
    """
    model, rows, features = config.model, wplus_rows(generator), generator.latent_size
    if model.kind not in KINDS:
        raise UserError(f"config.model.kind={model.kind!r}: choose {', '.join(KINDS)}")
    if not KINDS[model.kind] <= {*config, *model}:
        raise UserError(
            f"config.model.kind={model.kind}: this configuration is of another kind; take "
            f"configs/encoder.py:{model.kind}"
        )
    if model.kind == "mobile":
        if model.size < 32 or model.size % 32:
            raise UserError(
                f"config.model.size={model.size}: the side of the pictures is a multiple of 32"
            )
        fields = ("channels", "features", "reduced", "grid", "rank", "stem", "frozen")
        chosen = {name: model[name] for name in fields}
        return MobileEncoder(
            rows, model.size, features, rows=tuple(map(tuple, model.rows)), **chosen
        )
    if model.size < 16 or model.size & (model.size - 1):
        raise UserError(
            f"config.model.size={model.size}: the side of the pictures is a power of two from 16 up"
        )
    if model.kind in ("indomain", "traditional"):
        cls = InDomainEncoder if model.released else InDomainTrainingEncoder
        return cls(encoder_widths(model.size, model.base, model.largest), rows, features)
    body = {"counts": tuple(model.counts), "widths": tuple(model.widths)}
    if model.kind == "restyle" and model.backbone == "resnet":
        return ResNetBackboneEncoder(
            rows, model.progressive, model.size, features, **body, channels=model.channels
        )
    body["squeeze"] = model.squeeze
    if model.kind == "restyle":
        return BackboneEncoder(
            rows, model.progressive, model.size, features, **body, channels=model.channels
        )
    if (model.kind == "e4e" or model.heads == "pyramid") and body["widths"][-1] != (
        model.channels or features
    ):
        raise UserError(
            f"config.model.widths={body['widths']}: a pyramid's last number is "
            "config.model.channels, here "
            f"{model.channels or features} (None takes the length of a code)"
        )
    if model.kind == "e4e":
        return Encoder4Editing(rows, model.size, features, **body, channels=model.channels)
    if model.heads == "pyramid":
        return GradualStyleEncoder(rows, model.size, features, **body, channels=model.channels)
    if model.size != 256:
        raise UserError(
            f"config.model.size={model.size}: the pooled head is for 256; "
            "--config.model.heads=pyramid"
        )
    return IntoWPlus(rows, features, model.pool, **body)


def initial_encoder(
    encoder: nn.Module,
    key: PRNGKeyArray,
    picture: Float[Array, "b s s c"],
    mean: Float[Array, "*rows k"],
    std: Float[Array, "*rows k"],
) -> dict[str, Any]:
    """Variables before the first step.

    An encoder of absolute codes ends in a normalisation: it begins at the moments of the
    generator's codes, as far as it has parameters for them.

    Args:
        picture: of the shape that the encoder takes.
        mean, std: from `code_moments`.
    """
    variables = jax.jit(encoder.init)(key, picture)
    if not isinstance(encoder, InDomainEncoder):
        return variables
    head = variables["params"][f"block_{len(encoder.widths)}"]["bn"]
    for name, moment in (("bias", mean), ("scale", std)):
        if name in head:
            head[name] = jnp.broadcast_to(moment, (encoder.rows, encoder.latent_size)).reshape(-1)
    return variables


def in_basis(variables: dict[str, Any], matrix: Float[Array, "k k"]) -> dict[str, Any]:
    """A `MobileEncoder` whose outputs are multiplied by a matrix from the right: its last layers
    are linear.
    """

    def changed(layer: dict[str, Any]) -> dict[str, Array]:
        return {name: leaf @ matrix for name, leaf in layer.items()}

    params = dict(variables["params"])
    params["base"] = changed(params["base"])
    for name in [name for name in params if name.startswith("level_")]:
        params[name] = {
            **params[name],
            **{part: changed(params[name][part]) for part in ("common", "basis")},
        }
    return {**variables, "params": params}


def start_encoder(variables: dict[str, Any], folder: ModelFolder) -> dict[str, Any]:
    """Replaces an encoder by a trained one.

    Raises:
        UserError: the arrangements differ.
    """
    theirs = folder.network("encoder").variables
    if jax.tree.map(jnp.shape, variables) != jax.tree.map(jnp.shape, theirs):
        raise UserError(
            "config.model.start holds an encoder of another arrangement; give it the same "
            "config.model"
        )
    return jax.tree.map(lambda ours, given: jnp.asarray(given, ours.dtype), variables, theirs)


def start_body(variables: dict[str, Any], folder: ModelFolder) -> dict[str, Any]:
    """Replaces an encoder's body by that of a face recogniser (the official encoders start from
    ArcFace), or by a bare one (the small encoder starts from ImageNet).

    The first convolution stays as it is where it has other inputs, as ReStyle's has.

    Raises:
        UserError: the bodies differ.
    """
    theirs = folder.networks.get("body")
    bare = theirs is not None  # a network that is nothing but a body
    theirs = theirs.variables if bare else folder.network("identity").variables
    changed = dict(variables)
    for collection in ("params", "batch_stats"):
        ours = variables[collection].get("body", {})
        given = dict(theirs[collection] if bare else theirs[collection]["body"])
        if collection == "params" and "input_conv" in ours:
            new, old = given["input_conv"]["kernel"], ours["input_conv"]["kernel"]
            given["input_conv"] = {"kernel": new if new.shape == old.shape else old}
        if jax.tree.map(jnp.shape, ours) != jax.tree.map(jnp.shape, given):
            raise UserError(
                "config.model.start holds another body than the encoder's; give it the same "
                "counts and widths "
                "(IR-SE50: (3, 4, 14, 3) and (64, 128, 256, 512); MobileNetV2: as in "
                "configs/encoder_mobile.py)"
            )
        changed[collection] = {**variables[collection], "body": jax.tree.map(jnp.array, given)}
    return changed


def make_distances(config: ConfigDict) -> dict[str, Distance]:
    """Distances of pictures by the names of their weights in config.loss.

    Those of weight 0 are left out, "l2" never is.

    identity  1 - cosine of the embeddings of ArcFace from the folder config.identity; without one, of the embedded SFace on the
              same fixed crop: a stand-in, as SFace was trained on crops aligned by landmarks
    vgg       mean squared difference of VGG16's relu4_3, from the folder config.perceptual (Caffe's weights); without one, of the
              embedded VGG16 (torchvision's), multiplied to Caffe's scale so that the official
              weight keeps its meaning

    Raises:
        UserError: a network is not to be had.
    """
    found = {"l2": Distance({}, lambda _, pred, target: losses.mse(pred, target))}
    if config.loss.get("lpips"):
        module, variables = pretrained.load("lpips").network("lpips_alex")
        found["lpips"] = Distance(variables, module.apply)
    if config.loss.get("identity"):
        found["identity"] = _identity(config.identity)
    if config.loss.get("vgg"):
        found["vgg"] = _vgg(config.perceptual)
    return found


def _identity(source: str) -> Distance:
    embed, variables = perceptual.identity(source)
    return Distance(variables, lambda v, a, b: losses.identity_distance(embed(v, a), embed(v, b)))


def _vgg(source: str) -> Distance:
    features, variables = perceptual.in_domain(source)
    return Distance(variables, lambda v, a, b: perceptual.distance(features(v, a), features(v, b)))
