"""`--strip`, `--first-frame` and the settings of the service that mean the same."""

import json

import numpy as np
import pytest
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.programs import edit
from diffcam_jax.service.intake import Intake
from diffcam_jax.service.limits import Limits
from diffcam_jax.service.work import do
from tests import small_editor
from tests.service_world import SMILE, context, editor
from tests.test_photo_metadata import RIGHTS, some_exif

SIDE = small_editor.SIDE


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFCAM_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def rights(path) -> str | None:
    with Image.open(path) as image:
        return image.getexif().get(0x8298)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """An animation with EXIF data."""
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("orange", "navy")]
    path = tmp_path_factory.mktemp("photos") / "moving.webp"
    exif = some_exif().tobytes()
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True, exif=exif)
    return path


def test_flags_of_the_command_line(tmp_path, moving, capsys):
    flags = [*small_editor.flags(tmp_path / "networks"), "--aligned", "--no-cache"]
    ask = [str(moving), "--attribute", "smiling=1", "--out", str(tmp_path / "out"), *flags]
    assert edit.main(ask) == 2
    assert "--first-frame" in capsys.readouterr().err
    assert edit.main([*ask, "--first-frame", "--strip"]) == 0
    settings = json.loads((tmp_path / "out/moving.json").read_text())["settings"]
    assert settings["strip"] and settings["first_frame"]
    with Image.open(tmp_path / "out/moving.png") as image:
        assert image.size == (SIDE, SIDE) and not image.getexif()
        red, _, blue = np.asarray(image).mean((0, 1))
    assert red > blue  # it is the first frame


def job_of(parts, path, **settings):
    with Intake(parts) as intake:
        intake.path("photo").write_bytes(path.read_bytes())
        return intake.finish(path.name, SMILE | settings)


def test_settings_of_the_service(tmp_path, moving):
    parts = context(tmp_path / "edits", work=[])
    with pytest.raises(UserError, match="first_frame"):
        job_of(parts, moving)
    for strip in (False, True):
        job = job_of(parts, moving, first_frame=True, strip=strip)
        folder = parts.queue.store.folder(job)
        do(editor(), job, folder, Limits(pixels=10**6), lambda *told: None)
        assert rights(folder / "result.png") == (None if strip else RIGHTS)
        assert rights(folder / "before.png") is None
