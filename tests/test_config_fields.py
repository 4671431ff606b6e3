"""Every field of every configuration: what makes no sense is refused in one line that names it."""

import importlib
import math
import pathlib

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import encoder as encoder_config
from diffcam_jax.command import rules
from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import settings as evaluation
from diffcam_jax.train import registry
from diffcam_jax.train import settings as training

CONFIGS = pathlib.Path(training.__file__).parents[2] / "configs"
MODES = {
    "stylegan2": ("1024", "512", "256", "debug"),
    "deghost": ("", "official", "debug"),
    "diffcam_mobile": ("", "stage1", "stage2", "stage3", "debug"),
    "encoder": (*encoder_config.MODES, *(f"{mode}_debug" for mode in encoder_config.MODES)),
    "encoder_mobile": ("pairs", "finetune", "debug"),
    "invertibility": ("", "feature_style", "debug"),
}


def configurations():
    for path in sorted(CONFIGS.rglob("*.py")):
        if "def get_config(" not in path.read_text():
            continue
        for mode in (
            MODES.get(path.stem, ("", "debug")) if path.parent == CONFIGS else ("", "debug")
        ):
            name = ".".join(path.relative_to(CONFIGS.parent).with_suffix("").parts)
            yield pytest.param(name, mode, id=f"{name}:{mode}")


ALL = list(configurations())


def of_other_fields():
    """One configuration for each set of fields: modes mostly differ in values alone."""
    found = {}
    for given in ALL:
        config = importlib.import_module(given.values[0]).get_config(given.values[1])
        found.setdefault((given.values[0], *(path for path, *_ in leaves(config))), given)
    return list(found.values())


def leaves(config, place="config"):
    for name in config:
        value = config[name]
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{place}.{name}")
        else:
            yield f"{place}.{name}", config, name, value


# Names of fields that mean something by 0, and by a negative number. Whoever adds a field decides.
ZERO = {
    # intervals, counts and sizes where 0 is never, none, all, or the stored one
    "seed", "devices", "log_every", "sample_every", "eval_every", "checkpoint_every", "r1_every",
    "path_every", "warmup", "layers", "split", "judged", "frozen", "correlated", "start", "shift",
    "pyramid", "stages", "limit", "samples", "edited_faces", "inversion_steps", "bootstrap",
    "num_classes", "axes", "tries",
    # weights and probabilities
    "r1_gamma", "path_weight", "style_mixing", "ada_target", "pixel_weight", "perceptual_weight",
    "adversarial_weight", "weight_decay", "label_smoothing", "weight", "emphasis", "none", "hide",
    "pair", "contrast", "flip", "colour", "blur", "occlude", "r1", "outside", "edits", "nearest",
    "l2", "lpips", "identity", "vgg", "adversarial", "w_norm", "delta", "code", "whitened", "prior",
    "pixel", "perceptual", "style", "area", "binary", "truth", "areas", "align", "light", "objects",
    "noise", "compress", "turn", "zoom", "sigma", "grain", "skin", "fine", "round", "compound",
    "mixing",
    # decays of averages
    "b1", "b2", "betas", "ema",
    "strengths",
}  # fmt: skip
ZERO_AT = {
    "config.data.size": ("encoder", "invertibility"),
    "config.size": ("evaluation",),
    "config.anchor.steps": ("stylegan2",),
}
NEGATIVE = {"sign", "none", "strengths", "strength"}
NONE = {"config.perceptual_weight"}  # by a variant


def load(name, mode):
    config = importlib.import_module(name).get_config(mode)
    check = evaluation.check if ".eval." in name else training.check
    return config, check, "evaluation" if ".eval." in name else config.trainer


@pytest.mark.parametrize(("name", "mode"), ALL)
def test_it_is_accepted_as_it_is(name, mode):
    config, check, _ = load(name, mode)
    check(config)


def numeric(value):
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (isinstance(value, tuple) and any(map(numeric, value)))


def by_code(config, path):
    """Channels of an encoder may follow the length of a code."""
    return path == "config.model.channels" and "counts" in config.model


def spoiled(value, bad):
    """The value with the bad one in place of its first number."""
    if not isinstance(value, tuple):
        return bad
    at = next(i for i, entry in enumerate(value) if numeric(entry))
    return (*value[:at], spoiled(value[at], bad), *value[at + 1 :])


def refusal(config, check, owner, name, bad):
    """The refusal of a configuration with another value of a field, or None."""
    target = config
    for part in owner.split(".")[1:]:
        target = target[part]
    names, before = set(target), target.get(name)
    with target.ignore_type(), target.unlocked():
        target[name] = bad
        try:
            check(config)
        except UserError as error:
            return str(error)
        finally:
            del target[name]
            if name in names:
                target[name] = before
    return None


@pytest.mark.parametrize(("name", "mode"), of_other_fields())
def test_every_number_is_guarded(name, mode):
    config, check, kind = load(name, mode)
    plain = ConfigDict(config.to_dict())
    for path, _, field, value in list(leaves(config)):
        owner = path.rpartition(".")[0]
        if not numeric(value):
            continue
        for bad in (math.nan, math.inf, -math.inf, "text", -1, 0, None):
            told = refusal(plain, check, owner, field, spoiled(value, bad))
            if bad == 0:
                allowed = field in ZERO or kind in ZERO_AT.get(path, ())
            elif bad == -1:
                allowed = field in NEGATIVE and path != "config.ghost.strength"
            else:
                allowed = bad is None and (path in NONE or by_code(config, path))
            if allowed:
                assert told is None, (path, bad, told)
                continue
            assert told and "\n" not in told, (path, bad)
            assert path in told and "give" in told, told


@pytest.mark.parametrize(("name", "mode"), of_other_fields())
def test_no_field_may_be_missing_unknown_or_of_another_kind(name, mode):
    config, check, _ = load(name, mode)
    plain = ConfigDict(config.to_dict())
    for path, _, field, value in list(leaves(config)):
        told = refusal(plain, check, path.rpartition(".")[0], field, {"a": 1})
        assert told and path in told, (path, told)
        if isinstance(value, bool | str):
            bad = 1.5 if isinstance(value, str) else "yes"
            told = refusal(plain, check, path.rpartition(".")[0], field, bad)
            assert told and path in told, (path, told)
    told = refusal(plain, check, "config", "sead", 1)
    assert told == "nothing reads config.sead; did you mean seed?"
    without = config.to_dict()
    del without["seed"]
    with pytest.raises(UserError, match=r"has no field seed \(a whole number, from 0 to"):
        check(ConfigDict(without))


def test_every_trainer_has_a_table():
    assert training.TABLES.keys() == registry.TRAINERS.keys()


@pytest.mark.parametrize(("rule", "good", "bad"), [
    (rules.whole(1), (1, 10**9), (0, 1.0, True, "1", None, np.nan)),
    (rules.whole(0, 3), (0, 3), (4, -1)),
    (rules.real(0, 1), (0, 1, 0.5), (1.01, -0.0001, math.nan, False)),
    (rules.above(0), (1e-30, 1), (0, 0.0, math.inf)),
    (rules.decay(), (0, 0.999), (1, 1.0, -0.1)),
    (rules.nonzero(), (-2, 0.1), (0, 0.0, math.nan)),
    (rules.side(8), (8, 1024), (4, 12, 0, 16.0)),
    (rules.one_of(1, -1), (1, -1), (1.0, True, 2)),
    (rules.each(rules.whole(1), 2), ((1, 2), [3, 4]), ((1,), (1, 0), "12", 3)),
    (rules.some(rules.text()), (("a",),), ((), ("a", 1))),
    (rules.rising(), ((-1, 1), (0, 0)), ((1, 0), (0, math.nan), (0,))),
    (rules.maybe(rules.real(), "the default"), (None, 0), (-1, "none")),
])  # fmt: skip
def test_rules(rule, good, bad):
    assert all(map(rule.fits, good))
    assert not any(map(rule.fits, bad))
