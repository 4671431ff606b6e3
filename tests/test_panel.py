"""Masks over pictures and grids of pictures, pixel by pixel."""

import numpy as np

from diffcam_jax.faces.panel import GAP, HEADER, heat_overlay, labelled_grid, titled_grid


def test_a_mask_dims_and_tints():
    picture = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), np.float32)
    mask[2, 3] = 1
    drawn = heat_overlay(picture, mask)
    # 0.55 * 100 + 0.45 * (255, 140, 0) where the mask is 1, 0.45 * 100 elsewhere.
    assert (drawn[mask == 0] == 45).all() and drawn[2, 3].tolist() == [170, 118, 55]


def test_titles_stand_above_the_first_row_only():
    rows = [[np.full((8, 8, 3), 10 * i + j, np.uint8) for j in range(2)] for i in range(3)]
    sheet = titled_grid(rows, ["inverted", "smiling"], 8)
    side = 8 + GAP
    assert sheet.shape == (HEADER + 3 * side, 2 * side + GAP, 3)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = HEADER + i * side, GAP + j * side
            np.testing.assert_array_equal(sheet[top : top + 8, left : left + 8], picture)


def test_a_row_with_any_label_has_space_for_it():
    picture = np.zeros((4, 4, 3), np.uint8)
    heights = [
        np.asarray(labelled_grid([[(label, picture), ("", None)]], 4)).shape[0]
        for label in ("a", "")
    ]
    assert heights == [4 + HEADER + GAP, 4 + GAP]
