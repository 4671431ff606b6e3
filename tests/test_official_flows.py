"""Edits by a flow: published rows change, others stay bit for bit, and bad input is told."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffcam_jax.directions import official_flows
from diffcam_jax.errors import UserError
from diffcam_jax.nn.network import Network
from diffcam_jax.nn.styleflow import StyleFlow, flow, inverse
from tests.random_variables import random_variables

ROWS, SIZE = 18, 4


@pytest.fixture(scope="module")
def network():
    module = StyleFlow(SIZE, (6,))
    given = jnp.zeros((1, 1, SIZE)), jnp.zeros((1, module.conditions))
    return Network(module, random_variables(module, *given))


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    codes = rng.normal(0, 1, (2, ROWS, SIZE)).astype(np.float32)
    return codes, rng.normal(0, 1, (2, 17)).astype(np.float32)


def test_the_rows_of_the_attributes_move_and_no_others(network, given):
    codes, condition = given
    found = np.asarray(
        official_flows.moved(network, codes, condition, {"expression": 1.0, "beard": 0.5})
    )
    acts = [4, 5, 6, 7, 8, 9]  # expression: 4 and 5; beard: 5 to 9
    np.testing.assert_array_equal(np.delete(found, acts, 1), np.delete(codes, acts, 1))
    target = condition.copy()
    target[:, 16], target[:, 14] = 1.0, 0.5
    whole = inverse(network, flow(network, codes, condition)[0], target)
    np.testing.assert_allclose(found[:, acts], whole[:, acts], atol=1e-5)
    assert (np.abs(found - codes)[:, acts].max((0, 2)) > 1e-4).all()


def test_an_edit_to_what_is_there_changes_nothing_much(network, given):
    codes, condition = given
    same = official_flows.moved(network, codes[:1], condition[:1], {"age": float(condition[0, 15])})
    np.testing.assert_allclose(same, codes[:1], atol=2e-3)


def test_light_is_nine_numbers(given):
    _, condition = given
    found = official_flows.changed(condition, {"light": np.arange(9.0), "yaw": -3})
    np.testing.assert_array_equal(found[:, :9], np.broadcast_to(np.arange(9), (2, 9)))
    assert (found[:, 11] == -3).all() and (found[:, 12:] == condition[:, 12:]).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smile": 1.0}, "no attribute 'smile'"),
        ({"age": np.nan}, "not finite"),
        ({"age": np.zeros(9)}, "age: give a number"),
        ({"light": 1.0}, "light: give 9 numbers"),
    ],
)
def test_impossible_changes_are_told(given, changes, words):
    with pytest.raises(UserError, match=words):
        official_flows.changed(given[1], changes)


def test_a_condition_of_another_flow_is_refused(network, given):
    codes, condition = given
    with pytest.raises(UserError, match="takes 17 numbers of a condition, not 8"):
        official_flows.moved(network, codes, condition[:, :8], {"age": 1.0})
