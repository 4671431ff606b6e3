import numpy as np
import pytest

from diffcam_jax.train import held_out


def test_means_are_over_pictures_not_over_batches():
    arrays = {"x": np.arange(7.0), "y": np.arange(7.0) * 2}
    seen = []

    def measure(batch):
        seen.append(len(batch["x"]))
        return {"sum": batch["x"] + batch["y"]}

    assert held_out.means(measure, arrays, 3) == {"sum": pytest.approx(9.0)}
    assert seen == [3, 3, 1]


def test_what_is_not_defined_does_not_count():
    assert held_out.means(lambda batch: batch, {"x": np.array([1.0, np.nan, 4.0])}, 2) == {"x": 2.5}


def test_a_sheet_has_a_row_for_every_face():
    columns = [
        np.full((2, 3, 3, 3), 10 * column, np.uint8)
        + np.arange(2, dtype=np.uint8)[:, None, None, None]
        for column in range(4)
    ]
    sheet = held_out.sheet(columns)
    assert sheet.shape == (6, 12, 3)
    assert sheet[::3, ::3, 0].tolist() == [[0, 10, 20, 30], [1, 11, 21, 31]]
