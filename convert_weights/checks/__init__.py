"""One module for each kind of parity fixture: how our networks compute the official outputs.

A module has `outputs(fixture) -> {name: full array in the official layout}` and, where official
checkpoints exist at other sizes, `layouts(fixture) -> [(Layout, shapes)]`. Intermediate values
("probe.") come from flax's `capture_intermediates`.
"""

import importlib
from collections.abc import Iterator, Mapping
from types import ModuleType

KINDS = (
    "arcface_irse50",
    "deghosting",
    "diffcam",
    "e4e",
    "idinvert",
    "idinvert_256_encoder",
    "idinvert_256_generator",
    "inception_fid",
    "lpips",
    "metrics",
    "ood_samm",
    "psp_gradual",
    "random_face",
    "restyle",
    "styleflow",
    "stylegan2_ada",
    "stylegan2_discriminator",
    "stylegan2_generator",
    "vgg16_resnet101",
)
# Two fixtures of keys alone share the module of their family.
_MODULES = {"idinvert_256_encoder": "idinvert", "idinvert_256_generator": "idinvert"}


class _Checks(Mapping[str, ModuleType]):
    """Kind -> its module, imported when it is requested."""

    def __getitem__(self, kind: str) -> ModuleType:
        if kind not in KINDS:
            raise KeyError(kind)
        return importlib.import_module(f"convert_weights.checks.{_MODULES.get(kind, kind)}")

    def __iter__(self) -> Iterator[str]:
        return iter(KINDS)

    def __len__(self) -> int:
        return len(KINDS)


CHECKS: Mapping[str, ModuleType] = _Checks()
