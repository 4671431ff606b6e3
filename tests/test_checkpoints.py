"""Where each network of an edit comes from, decided before any weights are opened."""

import json
import shutil

import pytest

from diffcam_jax.editing import checkpoints
from diffcam_jax.editing.checkpoints import ALIGNER, DEGHOSTER, ENCODER, Plan
from diffcam_jax.errors import UserError

SHIPPING = (ENCODER, DEGHOSTER, ALIGNER)
# Folder -> the networks in it.
FOLDERS = {
    "drawer": ["generator"],
    "whole": ["encoder", "generator"],
    "reader": ["encoder"],
    "other": ["deghoster"],
    "aligner": ["aligner"],
}
# What is given -> generator, encoder, deghoster and aligner; None for none, the embedded generator.
PLANS = {
    "nothing": ({}, (None, ENCODER, DEGHOSTER, ALIGNER)),
    "a generator": ({"generator": "drawer"}, ("drawer", None, None, None)),
    "an encoder with its generator": ({"encoder": "whole"}, ("whole", "whole", None, None)),
    "an encoder": ({"encoder": "reader"}, (None, "reader", DEGHOSTER, None)),
    "both of them": (
        {"generator": "drawer", "encoder": "whole"},
        ("drawer", "whole", None, None),
    ),
    "an aligner": ({"aligner": "aligner"}, (None, ENCODER, DEGHOSTER, "aligner")),
    "an encoder and an aligner": (
        {"encoder": "whole", "aligner": "aligner"},
        ("whole", "whole", None, "aligner"),
    ),
    "a deghoster": ({"deghoster": "other"}, (None, ENCODER, "other", ALIGNER)),
    "a missing encoder": ({"encoder": "nowhere"}, (None, "nowhere", DEGHOSTER, None)),
}


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Folders in which there is nothing but config.json, those that ship among them."""
    for name in SHIPPING:
        (tmp_path / name).mkdir()
        shutil.copy(checkpoints._SHIPPED / name / "config.json", tmp_path / name)
    for name, roles in FOLDERS.items():
        (tmp_path / name).mkdir()
        config = {"kind": name, "networks": {role: {} for role in roles}}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(checkpoints, "_SHIPPED", tmp_path)
    monkeypatch.setattr(checkpoints, "shipped", checkpoints.shipped.__wrapped__)
    return tmp_path


@pytest.mark.parametrize(("given", "expected"), PLANS.values(), ids=PLANS)
def test_a_plan_opens_no_weights(described, given, expected):
    plan = checkpoints.resolve(**{role: described / name for role, name in given.items()})
    generator, encoder, deghoster, aligner = (
        name if name is None or name in SHIPPING else described / name for name in expected
    )
    assert plan == Plan(generator, encoder, None, deghoster, aligner)
    assert plan.is_embedded == (generator is None)


def test_a_part_that_does_not_ship_is_left_out(described):
    shutil.rmtree(described / DEGHOSTER)
    assert checkpoints.resolve() == Plan(None, ENCODER, None, None, ALIGNER)
    shutil.rmtree(described / ENCODER)  # without it there is nothing to align with
    assert checkpoints.resolve() == Plan(None, None, None, None, None)


def test_an_aligner_without_an_encoder_is_refused_in_one_line(described):
    with pytest.raises(UserError, match="give the encoder that it was trained with") as caught:
        checkpoints.resolve(generator=described / "drawer", aligner=described / "aligner")
    assert "\n" not in str(caught.value)


def test_nothing_of_a_plan_opens_without_weights(described):
    """The folders of these tests would have told."""
    for name in SHIPPING:
        with pytest.raises(UserError, match="no weight file"):
            checkpoints.shipped(name)
