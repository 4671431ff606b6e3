"""Tables, reports and the store of an evaluation: what is escaped, what is embedded, what survives
a kill.
"""

import base64
import html.parser
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.evaluation import published
from diffcam_jax.evaluation.document import (
    Document,
    Figure,
    Section,
    bar_plot,
    curve_plot,
    picture_figure,
    spread_plot,
)
from diffcam_jax.evaluation.store import Key, Store, opened
from diffcam_jax.evaluation.tables import Table, number

NASTY = "<script>alert(1)</script> | `x` [a](b) *c*\n# head $x^2$"


class Reader(html.parser.HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def document(**changes):
    table = Table(NASTY, ["name", "value"], [[NASTY, "1"]], [NASTY], {"field": NASTY})
    figure = picture_figure("pictures", NASTY, Image.new("RGB", (8, 8)))
    content = {
        "title": NASTY,
        "command": NASTY,
        "facts": {"fact": NASTY},
        "problems": {NASTY: NASTY},
    }
    return Document(sections=[Section(NASTY, [NASTY], [table], [figure])], **{**content, **changes})


def test_the_page_holds_everything_and_runs_nothing(tmp_path):
    document().write(tmp_path)
    page = Reader((tmp_path / "report.html").read_text())
    assert "script" not in page.tags and "table" in page.tags
    assert (
        sum(NASTY in word for word in page.words) >= 8
    )  # title, heading, text, cell, note, caption, problem, fact
    (link,) = page.links
    assert (
        base64.b64decode(link.removeprefix("data:image/jpeg;base64,"))
        == (tmp_path / "pictures.jpg").read_bytes()
    )


def test_markdown_keeps_foreign_text_within_its_cell(tmp_path):
    text = document().markdown()
    assert "<script>" not in re.sub("`.*`", "", text)  # between backticks it is text
    (row,) = [line for line in text.splitlines() if line.endswith("| 1 |")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells under 1"):
        Table("t", ["a"], [["1", "2"]])


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.12345, None, "0.123"),
        (0.5, (0.25, 0.75), "0.500 [0.250, 0.750]"),
        (float("nan"), None, "-"),
        (float("inf"), None, "inf"),
        (1.0, (float("nan"), 2.0), "1.000"),
    ],
)
def test_numbers(value, interval, text):
    assert number(value, 3, interval) == text


def test_plots_take_what_is_not_finite_and_labels_with_dollars():
    figures = [
        spread_plot("a", "c", {"$x": [1.0, float("nan"), 2.0], "none": []}, "y"),
        bar_plot("b", "c", {"g": {"s": 1.0}, "h": {"t": float("nan")}}, "y"),
        curve_plot("d", "c", {"m": (np.array([0.0, 1.0]), np.array([1.0, 0.5]))}, ("x", "y")),
    ]
    for figure in figures:
        assert isinstance(figure, Figure) and figure.data.startswith(b"\x89PNG")


def test_published_tables_are_marked_and_tell_their_protocol():
    tables = [*published.reconstruction(), *published.editing(), *published.in_domain()]
    assert len(tables) == 6
    for table in tables:
        assert (
            table.published
            and "published" in table.markdown()
            and "published" in table.html()
            and table.notes
        )
    values = {row[0]: row[1:] for row in published.editing()[0].rows}
    assert values["Diff-CAM"] == ["13.76", ".094"]
    assert {row[0] for row in published.in_domain()[0].rows} >= {
        "in-domain inversion",
        "Image2StyleGAN",
    }


def test_the_store_gives_back_what_was_put(tmp_path):
    key = Key("p", "s", "picture")
    with opened(tmp_path) as store:
        assert store.get(key) is None
        store.put(key, {"mse": 0.5, "identity": float("nan"), "psnr": float("inf")})
    with opened(tmp_path) as store:
        found = store.get(key)
        assert found["mse"] == 0.5 and np.isnan(found["identity"]) and np.isinf(found["psnr"])
        assert store.measured("p", "s") == {"picture": found} and store.measured("p", "t") == {}
    assert all(
        json.loads(line)["protocol"] == "p"
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    )


def test_a_line_cut_short_by_a_kill_is_measured_again(tmp_path):
    with opened(tmp_path) as store:
        store.put(Key("p", "s", "a"), {"x": 1.0})
        store.put(Key("p", "s", "b"), {"x": 2.0})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with opened(tmp_path) as store:
        assert store.get(Key("p", "s", "b")) is None
        store.put(Key("p", "s", "b"), {"x": 3.0})
    with opened(tmp_path) as store:
        assert (store.get(Key("p", "s", "a")), store.get(Key("p", "s", "b"))) == (
            {"x": 1.0},
            {"x": 3.0},
        )


@settings(max_examples=60, deadline=None)
@given(parts=st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=40)] * 3))
def test_no_name_leads_out_of_the_folder_and_no_two_share_a_file(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder)
    store.close()
    path = store.picture_path(Key(*parts))
    assert (
        path.resolve().is_relative_to((folder / "pictures").resolve())
        and len(path.relative_to(folder).parts) == 4
    )
    other = store.picture_path(Key(*(part + "." for part in parts)))
    assert path != other


def test_pictures_and_arrays_are_kept(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    key, calls = Key("p", "../s", "a/b.c"), []

    def make():
        calls.append(1)
        return np.arange(3.0)

    with opened(tmp_path) as store:
        assert not store.has(key)
        store.save_picture(key, picture)
        store.put(key, {"x": 1.0})
        assert store.has(key)
        np.testing.assert_array_equal(store.load_picture(key), picture)
        for _ in range(2):
            np.testing.assert_array_equal(store.array("features", "these", make), np.arange(3.0))
        store.array("features", "others", make)
        assert len(calls) == 2
        next((tmp_path / "arrays").glob("*.npy")).write_bytes(b"half")
        store.array("features", "these", make)
        store.array("features", "others", make)
        assert len(calls) == 3
        store.picture_path(key).unlink()
        assert not store.has(key)
        with pytest.raises(UserError, match="no such file"):
            store.load_picture(key)
