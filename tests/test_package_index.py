"""Pip's settings: from its files, the environment, and its built-in default."""

import ensurepip
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffcam_jax.pretrained import package_index
from diffcam_jax.pretrained.package_index import pip_settings


@pytest.fixture(autouse=True)
def unconfigured_pip(monkeypatch):
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def test_settings_come_from_pips_files_and_then_the_environment(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = http://a/simple\nextra-index-url =\n    file:///b\n    http://c/\n"
        "cert = /d.pem\ntimeout = 7\nfind-links = /e\n[download]\nproxy = http://p:1\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    settings = pip_settings()
    assert settings.indexes == ("http://a/simple", "file:///b", "http://c/")
    assert (settings.cert, settings.timeout, settings.proxy) == ("/d.pem", 7.0, "http://p:1")
    assert settings.pages("Toy_Parts") == [
        "/e",
        "file:///b/toy-parts/",
        "http://a/simple/toy-parts/",
        "http://c/toy-parts/",
    ]
    monkeypatch.setenv("PIP_INDEX_URL", "http://z/simple")
    assert pip_settings().indexes[0] == "http://z/simple"


def test_default_index_is_the_one_built_into_pip():
    ask = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    built_in = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert pip_settings().indexes == (built_in,)


def test_environments_without_pip_ask_the_wheel_that_python_carries(monkeypatch):
    expected = pip_settings().indexes
    assert package_index._pip_command() == (sys.executable, "-m", "pip")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else found(name)
    )
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(package_index, "_pip_command", package_index._pip_command.__wrapped__)
    if not list(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")):
        pytest.skip("this Python does not carry a pip wheel")
    assert package_index._pip_command()[1].endswith(".whl/pip")
    assert pip_settings().indexes == expected
