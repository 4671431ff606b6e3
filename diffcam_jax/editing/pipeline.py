"""Which networks edit together, and whether they fit.

Networks combine freely as long as their W+ codes have the same number of rows: a generator of side
s reads 2 log2(s) - 2 of them, 18 at 1024. What does not fit is refused in one line before anything
is computed.
"""

from concurrent.futures import ThreadPoolExecutor

import flax.linen as nn
import flax.struct
import jax

from diffcam_jax.directions.space import generator_hash
from diffcam_jax.editing.alignment import Settings, aligner_for, check_channels
from diffcam_jax.editing.classifier import Classifier
from diffcam_jax.editing.decomposition import Decomposer
from diffcam_jax.errors import UserError
from diffcam_jax.files.model_folder import network_hash
from diffcam_jax.inversion import encoding
from diffcam_jax.inversion.encoding import Encoder
from diffcam_jax.nn.latents import wplus_rows
from diffcam_jax.nn.network import Network


@flax.struct.dataclass(eq=False)
class AlignmentNetwork:
    """A trained alignment network, which finds what is out of the generator's domain.

    Attributes:
        network: an `Aligner`, between the generator's features and the encoder's maps.
        settings: how it uses the encoder.
        generator: `generator_hash` of the generator that it was trained with; "" where that is not
            known.
        encoder: `network_hash` of the encoder; "" where that is not known.
    """

    network: Network
    settings: Settings = flax.struct.field(pytree_node=False, default=Settings())
    generator: str = flax.struct.field(pytree_node=False, default="")
    encoder: str = flax.struct.field(pytree_node=False, default="")


@flax.struct.dataclass(eq=False)
class Pipeline:
    """The networks of an edit; a pytree, so an argument of `jax.jit`.

    Attributes:
        generator: with mapping and synthesis.
        classifier: tells attributes apart.
        encoder: gives codes; None leaves that to optimisation.
        deghoster: removes the ghosts of a blend; None leaves the blend as it is.
        aligner: finds what is out of the generator's domain; None where no method asks.
    """

    generator: Network
    classifier: Classifier
    encoder: Encoder | None = None
    deghoster: Network | None = None
    aligner: AlignmentNetwork | None = None

    @property
    def decomposer(self) -> Decomposer:
        """The networks as `decomposition` takes them.

        Raises:
            UserError: there is no alignment network, or no encoder.
        """
        if self.aligner is None:
            raise UserError("there is no alignment network for these networks; give --aligner DIR")
        require_encoder(self.encoder is not None)
        return Decomposer(self.generator, self.encoder, self.aligner.network, self.aligner.settings)


def encode(pipeline: Pipeline, images: jax.Array) -> jax.Array:
    """W+ codes of aligned pictures, by the pipeline's encoder.

    Args:
        pipeline: with an encoder.
        images: [b, s, s, 3] RGB in [-1, 1].

    Returns:
        [b, n, 512].

    Raises:
        UserError: there is no encoder.
    """
    if pipeline.encoder is None:
        raise UserError("this pipeline has no encoder; invert by optimisation")
    return encoding.read(pipeline.generator, pipeline.encoder, images)


def hashes(pipeline: Pipeline) -> dict[str, str]:
    """What the networks are known by in reports and results, by role; "" where there is none."""
    encoder, deghoster, aligner = pipeline.encoder, pipeline.deghoster, pipeline.aligner
    parts = {
        "classifier": pipeline.classifier.network,
        "encoder": encoder and encoder.network,
        "deghoster": deghoster,
        "aligner": aligner and aligner.network,
    }
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda network: network_hash(network) if network else "", parts.values())
        return {"generator": generator_hash(pipeline.generator), **dict(zip(parts, found))}


def require_encoder(found: bool) -> None:
    """Refuses an alignment network without an encoder.

    Raises:
        UserError: there is none.
    """
    if not found:
        raise UserError(
            "an alignment network compares with an encoder's maps; give the encoder that it was "
            "trained with, too"
        )


def check(pipeline: Pipeline) -> None:
    """Whether the networks fit together.

    Raises:
        UserError: says which two do not, and what each has.
    """
    generator, rows = pipeline.generator.module, wplus_rows(pipeline.generator.module)
    size, digest = generator.resolution, generator_hash(pipeline.generator)
    if pipeline.encoder is not None:
        _check_encoder(pipeline.encoder, rows, pipeline.generator.module)
    if pipeline.deghoster is not None:
        _check_deghoster(pipeline.deghoster, size, digest)
    if pipeline.aligner is not None:
        _check_aligner(pipeline, digest)


def _check_encoder(encoder: Encoder, rows: int, generator: nn.Module) -> None:
    if encoder.rows != rows:
        raise UserError(
            f"the encoder gives {encoder.rows} rows of W+, the generator of {generator.resolution} "
            f"pixels reads {rows}; take an encoder and a generator of the same resolution"
        )
    shape, width = encoder.latent_avg.shape, generator.latent_size
    if shape not in ((width,), (1, width), (rows, width)):
        raise UserError(
            f"the encoder's latent_avg has the shape {list(shape)}, and the generator reads "
            f"{rows} rows of {width} numbers; take an encoder that was trained for this generator"
        )


def _check_deghoster(deghoster: Network, size: int, digest: str) -> None:
    if deghoster.module.out_size != size:
        raise UserError(
            f"the deghosting network draws {deghoster.module.out_size} pixels, the generator "
            f"{size}; take two of the same size"
        )
    if getattr(deghoster.module, "prior", "") not in ("", digest):
        raise UserError(
            "the deghosting network was trained around another generator; give the two that "
            "belong together"
        )


def _check_aligner(pipeline: Pipeline, digest: str) -> None:
    """Whether the alignment network was trained between these networks.

    Where that is not known, whether it has their channels.
    """
    require_encoder(pipeline.encoder is not None)
    aligner, encoder = pipeline.aligner, pipeline.encoder.network
    generator, module = pipeline.generator.module, aligner.network.module
    check_channels(generator, module)
    if aligner.generator not in ("", digest):
        raise UserError(
            "the alignment network was trained with another generator; give the two that belong "
            "together"
        )
    if aligner.encoder:
        if aligner.encoder != network_hash(encoder):
            raise UserError(
                "the alignment network was trained with another encoder; give the two that belong "
                "together"
            )
        return  # the encoder's maps need not be traced, which takes a second
    fitting = aligner_for(generator, encoder.module, aligner.settings, sides=module.sides)
    if fitting.inputs != tuple(module.inputs):
        raise UserError(
            f"the alignment network reads maps of {tuple(module.inputs)} channels, "
            f"{type(encoder.module).__name__} has {fitting.inputs}; use the encoder that it was "
            "trained with"
        )
