"""What comes from outside: settings, names of files, and how often a client comes."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcam_jax.errors import UserError
from diffcam_jax.service.intake import shown_name
from diffcam_jax.service.limits import _CLIENTS, Rate
from diffcam_jax.service.settings import MOST_CHARACTERS, Settings, decode, parse
from tests.small_editor import directions

DIRECTIONS = directions()
FIELDS = [field.name for field in dataclasses.fields(Settings)]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
strengths = st.dictionaries(st.sampled_from([*DIRECTIONS, "beard", ""]), values, max_size=3)
objects = st.dictionaries(st.sampled_from([*FIELDS, "tunes"]), values | strengths, max_size=5)


@settings(deadline=None)
@given(objects | values, st.booleans())
def test_any_json_becomes_settings_or_one_line(found, edited):
    try:
        accepted = parse(found, DIRECTIONS, edited)
    except UserError as error:
        assert str(error) and len(str(error)) < 300 and "\n" not in str(error)
        return
    assert isinstance(accepted, Settings)
    assert set(accepted.attributes) <= set(DIRECTIONS) and (edited or accepted.attributes)
    # What was accepted is accepted again, after the way to the disk and back.
    again = parse(json.loads(json.dumps(dataclasses.asdict(accepted))), DIRECTIONS, edited)
    assert again == accepted


@settings(deadline=None)
@given(st.text())
def test_any_text_is_decoded_or_refused(text):
    try:
        decode(text)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 15_000, '{"a": ' * 3000, "9" * 5000, " " * (MOST_CHARACTERS + 1), "\0", "nul"],
)
def test_no_json_is_refused(text):
    with pytest.raises(UserError, match="the settings"):
        decode(text)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "no JSON object"),
        ({}, "nothing to change"),
        ({"attributes": {"smiling": 0}}, "nothing to change"),
        ({"attributes": {"smilin": 1}}, "did you mean smiling"),
        ({"attributes": {"smiling": 3}}, "out of range"),
        ({"attributes": {"smiling": True}}, "finite number"),
        ({"attributes": {"smiling": 10**400}}, "finite number"),
        ({"attributes": {"smiling": float("nan")}}, "finite number"),
        ({"attributes": 1}, "JSON object"),
        ({"attributes": [1]}, "JSON object"),
        ({"attribute": {}}, "did you mean attributes"),
        ({"attributes": ["old"], "face": 0}, "face=0"),
        ({"attributes": ["old"], "face": True}, "face=True"),
        ({"attributes": ["old"], "method": "magic"}, "choose from diffcam"),
        ({"attributes": ["old"], "method": []}, "choose from diffcam"),
        ({"attributes": ["old"], "tune": 101}, "from 0 to 100"),
        ({"attributes": ["old"], "tune": 1.5}, "from 0 to 100"),
        ({"attributes": ["old"], "aligned": 1}, "true or false"),
        ({"attributes": ["old"], "\ud800": 1}, "no setting is called"),
    ],
)
def test_a_wrong_setting_is_named(found, words):
    with pytest.raises(UserError, match=words) as caught:
        parse(found, DIRECTIONS)
    str(caught.value).encode()  # no half of a pair of surrogates


def test_defaults_and_names_without_strengths():
    assert parse({"attributes": ["old"]}, DIRECTIONS) == Settings({"old": 1.0})
    assert parse({}, DIRECTIONS, edited=True).attributes == {}


@settings(deadline=None)
@given(st.text())
def test_a_name_is_for_show_only(name):
    shown = shown_name(name)
    assert shown and len(shown) <= 100 and shown.isprintable()
    assert "/" not in shown and "\\" not in shown


def test_names_lose_their_folders():
    assert shown_name("../../etc/passwd") == "passwd"
    assert shown_name("C:\\photos\\me.jpg") == "me.jpg"
    assert shown_name("a\0b\r\n\x1b[31m\u202e.png") == "ab[31m.png"
    assert shown_name("") == shown_name("../") == "photograph"


def test_a_bucket_is_emptied_and_refilled():
    now = [0.0]
    rate = Rate(6, lambda: now[0])
    assert [rate.take("1.2.3.4") for _ in range(6)] == [0.0] * 6
    assert rate.take("1.2.3.4") == pytest.approx(10)
    assert rate.take("1.2.3.5") == 0.0
    now[0] = 9.0
    assert rate.take("1.2.3.4") == pytest.approx(1)
    now[0] = 10.0
    assert rate.take("1.2.3.4") == 0.0 and rate.take("1.2.3.4") > 0
    now[0] = 1000.0
    assert [rate.take("1.2.3.4") for _ in range(7)].count(0.0) == 6


def test_addresses_of_one_household_share_a_bucket():
    rate = Rate(1, lambda: 0.0)
    assert rate.take("2001:db8:1:2::1") == 0.0
    assert rate.take("2001:db8:1:2:ffff::9") > 0
    assert rate.take("2001:db8:1:3::1") == 0.0


def test_memory_of_clients_is_bounded():
    rate = Rate(1, lambda: 0.0)
    for number in range(_CLIENTS + 10):
        assert rate.take(f"client {number}") == 0.0
    assert len(rate._buckets) == _CLIENTS
    assert rate.take(f"client {_CLIENTS}") > 0
