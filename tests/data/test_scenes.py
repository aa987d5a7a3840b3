"""Scenes: what their masks, depths and boxes say is what is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.data.draws import generator
from diptych.data.scenes import CAMERA_M, FARTHEST_M, FOCAL, NEAREST_M, SIDE, WALL_M, compose

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def cards(count, size=(60, 96)):
    """Opaque cards with a transparent margin, which does not count."""
    made = []
    for colour in COLOURS[:count]:
        drawing = Image.new("RGBA", (120, 120))
        drawing.paste(Image.new("RGBA", size, (*colour, 255)), (10, 10))
        made.append(drawing)
    return made


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_masks_depths_and_boxes_are_those_of_the_pixels(seed, count):
    scene = compose(cards(count), generator(seed, "test"))
    pixels = np.asarray(scene.picture)
    assert pixels.shape == (SIDE, SIDE, 3) and len(scene.boxes) == count
    for number in range(count):
        there = scene.shown == number
        inner = there & ~_edge(there)  # the last line of pixels is mixed with the ground
        assert inner.any() and (pixels[inner] == COLOURS[number]).all()
        [away] = np.unique(scene.depth[there])
        assert NEAREST_M <= away <= FARTHEST_M
        rows, columns = np.nonzero(there)
        left, top, right, bottom = (round(side * SIDE) for side in scene.boxes[number])
        assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        # size is in proportion to 1 / depth, but for hidden parts and half a pixel at each end
        assert bottom - top <= FOCAL / away + 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_what_is_nearer_stands_lower_is_larger_and_hides_the_rest(seed):
    scene = compose(cards(3), generator(seed, "test"))
    order = sorted(range(3), key=lambda number: scene.depth[scene.shown == number].max())
    bottoms = [scene.boxes[number][3] for number in order]
    assert bottoms == sorted(bottoms, reverse=True)
    near = scene.boxes[order[0]]
    assert (near[3] - near[1]) * SIDE == pytest.approx(FOCAL / scene.depth[scene.shown == order[0]].max(), abs=1)


def test_the_floor_goes_to_the_wall_and_every_pixel_has_a_depth():
    scene = compose(cards(1), generator(0, "test"))
    empty = np.where(scene.shown < 0, scene.depth, np.nan)
    column = empty[:, np.isfinite(empty).all(axis=0)][:, 0]
    assert column[0] == WALL_M and (np.diff(column) <= 0).all() and column[-1] > 1
    floor = np.flatnonzero(column < WALL_M)
    # perspective: 1 / depth is linear in the row
    assert np.diff(1 / column[floor]) == pytest.approx(1 / (FOCAL * CAMERA_M), rel=1e-3)


def test_the_same_generator_makes_the_same_scene():
    one, two, other = (compose(cards(3), generator(seed, "test")) for seed in (1, 1, 2))
    assert one.picture.tobytes() == two.picture.tobytes() and (one.shown == two.shown).all()
    assert one.picture.tobytes() != other.picture.tobytes()


def test_wide_drawings_are_no_wider_than_a_metre():
    scene = compose(cards(1, size=(96, 16)), generator(3, "test"))
    left, top, right, bottom = scene.boxes[0]
    assert (right - left) / (bottom - top) == pytest.approx(6, rel=0.2)  # 16 rows become few
    assert (right - left) * SIDE == pytest.approx(FOCAL / scene.depth[scene.shown == 0].max(), abs=1)


def test_what_is_transparent_makes_no_scene():
    faint = Image.new("RGBA", (96, 96), (255, 0, 0, 60))
    with pytest.raises(ValueError, match="none that is transparent"):
        compose([faint], generator(0, "test"))


def _edge(there):
    inside = there.copy()
    inside[1:] &= there[:-1]
    inside[:-1] &= there[1:]
    inside[:, 1:] &= there[:, :-1]
    inside[:, :-1] &= there[:, 1:]
    return there & ~inside
