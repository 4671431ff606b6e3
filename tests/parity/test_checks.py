"""Every network against what the official PyTorch code computes from the same pseudo-random
weights.

The fixtures in tests/data are complete but for intermediate values. DIFFCAM_FIXTURES names a folder
of further ones.
"""

import gc
import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from convert_weights.__main__ import main
from convert_weights.check import check
from convert_weights.checks import CHECKS
from convert_weights.checks.ood_samm import argument
from convert_weights.fixture import Fixture

DATA = pathlib.Path(__file__).parent.parent / "data/parity"
MORE = os.environ.get("DIFFCAM_FIXTURES")
REAL = ("random_face",)  # its weights are a pretrained part and no rule
# Second-order gradients of networks of full width, and an encoder of full size.
LONG = ("stylegan2_discriminator", "e4e")


@pytest.fixture(autouse=True)
def forget_compiled_programs():
    """A network of a gigabyte, and what was compiled for it, must not stay for the next one."""
    yield
    jax.clear_caches()
    gc.collect()


def folders(parent):
    found = sorted(path.parent for path in pathlib.Path(parent).glob("*/manifest.json"))
    marks = {name: [pytest.mark.weights] for name in REAL} | {
        name: [pytest.mark.nightly] for name in LONG
    }
    return [pytest.param(p, id=p.name, marks=marks.get(p.name, [])) for p in found]


@pytest.mark.parametrize("folder", folders(DATA))
def test_fixture(folder):
    rows = check(Fixture(folder))
    assert (
        rows
        and [
            f"{row.name}: {row.error} of {row.tolerance} {row.note}"
            for row in rows
            if not row.passed
        ]
        == []
    )


@pytest.mark.fixtures
@pytest.mark.skipif(not MORE, reason="DIFFCAM_FIXTURES is not set")
@pytest.mark.parametrize("folder", folders(MORE) if MORE else [])
def test_further_fixture(folder):
    rows = check(Fixture(folder))
    assert rows and [row for row in rows if not row.passed] == []


@pytest.fixture
def metrics(tmp_path):
    """A copy of the smallest fixture."""
    folder = tmp_path / "metrics"
    shutil.copytree(DATA / "metrics", folder)
    return folder


def test_the_command_passes_and_prints_every_output(metrics, capsys):
    assert main(["check", str(metrics)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in Fixture(metrics).manifest["outputs"])
    assert "1 of 1 fixtures agree" in out and "FAIL" not in out


def test_a_wrong_number_fails(metrics, capsys):
    with np.load(metrics / "data.npz") as stored:
        arrays = dict(stored)
    arrays["out/psnr"] = arrays["out/psnr"] * np.float32(1.001)
    np.savez(metrics / "data.npz", **arrays)
    assert main(["check", str(metrics)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
    assert len(lines) == 1 and "psnr" in lines[0]


def test_what_cannot_be_checked_fails(metrics, tmp_path, capsys):
    manifest = json.loads((metrics / "manifest.json").read_text())
    manifest["outputs"]["unheard_of"] = {"shape": [], "absmax": 1.0}
    (metrics / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"kind": "nothing_known"}')
    assert main(["check", str(metrics), str(tmp_path / "other"), str(tmp_path / "missing")]) == 1
    out = capsys.readouterr().out
    assert (
        "not computed" in out
        and "nothing_known" in out
        and "missing is not a parity fixture" in out
    )
    assert "0 of 3 fixtures agree" in out


def test_keys_of_a_larger_checkpoint_are_checked_without_numbers(tmp_path, capsys):
    folder = tmp_path / "wrong"
    shutil.copytree(DATA / "stylegan2_generator_1024", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["state_dict"]["style.9.weight"] = manifest["state_dict"].pop("style.8.weight")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert main(["check", str(DATA / "stylegan2_generator_1024"), str(folder)]) == 1
    out = capsys.readouterr().out
    assert "1 of 2" in out and "left over" in out


@pytest.mark.parametrize("kept", ["generator.", "encoder."])
def test_the_networks_that_a_fixture_holds_are_checked(tmp_path, kept):
    """In-domain inversion with one of its networks alone, and what only needs that one."""
    of_encoder = ("codes", "probe.encoder.")
    folder = tmp_path / "part"
    shutil.copytree(DATA / "idinvert", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    gone = ("image_fused", "features", "invert.")
    for name in list(manifest["outputs"]):
        if name.startswith(gone) or name.startswith(of_encoder) != (kept == "encoder."):
            del manifest["outputs"][name]
    manifest["state_dict"] = {
        key: entry for key, entry in manifest["state_dict"].items() if key.startswith(kept)
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = check(Fixture(folder))
    assert rows and [row for row in rows if not row.passed] == []
    os.remove(folder / "data.npz")
    (keys,) = check(Fixture(folder))  # no numbers: the keys alone
    assert keys.passed and keys.name == f"{len(manifest['state_dict'])} keys"


def test_arguments_of_the_official_call_are_read_from_the_fixture():
    class Told:
        inputs = {"share": np.float32([0.25])}
        manifest = {
            "outputs": {"model.latents": {}},
            "modules": {"model.": {"args": "out_size=256, cycle_align=3"}},
        }

        def description(self, output):
            return "W+ code used: encoder + avg_latent, truncation 0.7 about avg_latent"

    assert float(argument(Told(), "model.", "truncation", "1")) == 0.7
    assert int(argument(Told(), "model.", "cycle_align", "2")) == 3
    assert float(argument(Told(), "model.", "share", "1")) == 0.25
    assert argument(Told(), "samm.", "cycle_align", "2") == "2"
    assert argument(Told(), "model.", "warp_scale", "0.08") == "0.08"


def test_every_kind_has_a_fixture_here():
    here = {Fixture(path.values[0]).kind.removesuffix("_1024") for path in folders(DATA)}
    assert here >= set(CHECKS) - {
        "restyle"
    }  # as large as two others; its parts are psp_gradual's and resnet's
