"""The site of the documentation builds without a warning and without a network, and is complete."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_pages import ROOT, text_of


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly and without any network."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = {f"{kind}_proxy": "http://localhost:9" for kind in ("http", "https", "all")}
    nowhere |= {name.upper(): value for name, value in nowhere.items()}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site(site):
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).exists()
    for name in ("index.html", "contributing.html", "weights.html", "tour.ipynb"):
        assert (site / name).exists()


def test_the_site_loads_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loaded = r"<(?:script|img|iframe)\b[^>]*?src=\"?https?:|<link\b[^>]*?rel=\"?(?:style|pre)"
        outside = [
            tag for tag in re.findall(rf"(?:{loaded})[^>]*>", text_of(path)) if "http" in tag
        ]
        assert outside == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\"?https?:", text_of(path)), path


def test_the_site_has_equations_code_search_and_both_palettes(site):
    method = text_of(site / "method.html")
    assert method.count("<math") >= 10 and "\\frac" not in method and "```" not in method
    # The code of Eq. 5 stands beside it, with a link to its docstring.
    assert 'href="api/editing.html#diffcam_jax.editing.compose.blend"' in method
    assert "training_mask" in text_of(site / "search/search_index.json")
    for scheme in ("default", "slate"):
        assert f'data-md-color-scheme="{scheme}"' in text_of(site / "index.html")


def test_code_is_shown_as_it_stands():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site_hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    shown = hooks.code_of("diffcam_jax.editing.compose.combine").splitlines()
    assert shown[0].startswith("def combine(") and shown[-1] == "    return jnp.max(masks, axis=0)"
    assert not any('"""' in line for line in shown)
    with pytest.raises(Exception, match="no such function"):
        hooks.code_of("diffcam_jax.editing.compose.no_such_function")


@pytest.mark.nightly
@pytest.mark.weights
def test_the_tour_runs_from_top_to_bottom():
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs/tour.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = [data for cell in notebook.cells for data in cell.get("outputs", [])]
    assert sum("image/jpeg" in data.get("data", {}) for data in shown) >= 5
