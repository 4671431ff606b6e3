"""Laying objects onto faces, and the arithmetic of the table: what needs no weights."""

import numpy as np
import pytest

from benchmarks.out_of_domain import parsed, select
from benchmarks.out_of_domain_objects import (
    MARGIN,
    OBJECTS,
    SIDE,
    RealObject,
    alpha,
    lay,
    placement,
)
from benchmarks.out_of_domain_set import Composite
from benchmarks.out_of_domain_table import append, load, summary
from diffcam_jax.errors import UserError

SQUARE = RealObject(
    source="somebody",
    outlines=(((300, 400), (500, 400), (500, 600), (300, 600)),),
    holes=(((350, 450), (400, 450), (400, 500), (350, 500)),),
    softness=1.0,
    anchors=((400, 480), (600, 480), (500, 700)),
)


def test_an_object_lies_where_a_known_similarity_says():
    # A quarter turn, half the size, and a shift: (x, y) -> (-y / 2 + 700, x / 2 + 100).
    anchors = np.array([[-y / 2 + 700, x / 2 + 100] for x, y in SQUARE.anchors])
    matrix = placement(SQUARE, "anybody", anchors)
    np.testing.assert_allclose(matrix, [[0, -0.5, 700], [0.5, 0, 100]], atol=1e-9)
    face = np.full((SIDE, SIDE, 3), 40, np.uint8)
    canvas = np.full((SIDE + 2 * MARGIN,) * 2 + (3,), 200, np.uint8)
    nowhere = np.zeros((SIDE, SIDE), bool)
    pixels, mask = lay(face, canvas, alpha(SQUARE), matrix, nowhere)
    expected = np.zeros((SIDE, SIDE), bool)
    expected[250:350, 400:500] = True
    expected[275:300, 450:475] = False
    # The border is drawn inwards by about half a pixel.
    assert (mask & ~expected).sum() == 0
    assert (expected & ~mask).sum() < 2 * (4 * 100 + 4 * 25)
    assert (pixels[mask] > 120).all() and (pixels[320:345, 405:495] == 200).all()
    assert (pixels[:245] == 40).all() and (pixels[277:298, 452:473] == 40).all()


def test_a_shadow_falls_where_it_may_and_only_there():
    matrix = placement(SQUARE, "anybody", np.array(SQUARE.anchors, np.float64))
    face = np.full((SIDE, SIDE, 3), 200, np.uint8)
    canvas = np.zeros((SIDE + 2 * MARGIN,) * 2 + (3,), np.uint8)
    left = np.arange(SIDE)[None].repeat(SIDE, 0) < 400
    pixels, _ = lay(face, canvas, alpha(SQUARE), matrix, left)
    assert pixels[603, 340, 0] < 180
    assert (pixels[602:, 430:] == 200).all()


def test_every_object_has_a_mask_of_its_own():
    for item in OBJECTS.values():
        share = alpha(item)
        assert 0.003 < (share > 0.5).mean() < 0.2
        assert share.min() == 0 and share.max() == 1


def _record(attribute, before, after, **more):
    nan = float("nan")
    usual = {"smiling": 0.5, "beard": nan}[attribute]
    return {
        "picture": "a",
        "group": "real",
        "attribute": attribute,
        "before": before,
        "after": after,
        "usual": usual,
        "retention": (after - before) / usual,
        "room": before < 0.6,
        "identity": 0.9,
        "object_changed": 0.0,
        "protected_changed": 0.02,
        "exact": True,
        "lpips_vgg": nan,
        "lpips_alex": nan,
        "seconds": 2.0,
        **more,
    }


def test_summary_counts_what_could_be_measured():
    records = [
        _record("smiling", 0.0, 0.5, object_changed=0.3, lpips_vgg=0.2),
        _record("smiling", 0.1, 0.2, identity=0.7, lpips_vgg=0.4),
        _record("smiling", 0.0, 0.2, seconds=5.0, exact=False),
        _record("smiling", 0.9, 0.1),
        _record("beard", 0.1, 0.4, object_changed=float("nan")),
    ]
    titles, rule, smiling, beard = summary(records)
    assert titles.count("|") == rule.count("|") == smiling.count("|") == beard.count("|")
    cells = [cell.strip() for cell in smiling.strip("|").split("|")]
    # Retentions 1.0, 0.2 and 0.4 have room.
    assert cells[:5] == ["smiling", "4", "3", "0.40", "67%"]
    assert cells[5:8] == ["0.85", "7.5% / 30.0%", "2.0% / 2.0%"]
    assert cells[8:] == ["3 of 4", "0.300", "-", "2.8"]
    cells = [cell.strip() for cell in beard.strip("|").split("|")]
    assert cells[3:5] == ["-", "-"] and cells[6] == "-" and cells[8] == "all"


def test_records_come_back_and_a_line_cut_off_is_dropped(tmp_path):
    path = tmp_path / "numbers.jsonl"
    assert load(path) == []
    records = [_record("smiling", 0.0, 0.5), _record("beard", 0.1, 0.2)]
    for record in records:
        append(path, record)
    whole = path.read_text()
    assert "NaN" not in whole
    path.write_text(whole + whole[:40])
    found = load(path)
    assert [str(record) for record in found] == [str(record) for record in records]
    assert path.read_text() == whole


def test_pictures_are_chosen_by_name_pattern_and_group():
    nothing = np.zeros((1, 1))
    groups = {"hopper": "photograph", "cap_a": "real", "cap_b": "real", "drawn_cap_a": "drawn"}
    pictures = {name: Composite(nothing, nothing, group, True) for name, group in groups.items()}
    assert list(select(pictures, "", 2)) == ["hopper", "cap_a"]
    assert list(select(pictures, "drawn,cap_*", None)) == ["cap_a", "cap_b", "drawn_cap_a"]
    with pytest.raises(UserError, match="nobody"):
        select(pictures, "hopper,nobody", None)


def test_options_are_literals_or_words():
    assert parsed(["refine=30", "deghost=False", "face=all"]) == {
        "refine": 30,
        "deghost": False,
        "face": "all",
    }
    with pytest.raises(UserError, match="key=value"):
        parsed(["refine"])
