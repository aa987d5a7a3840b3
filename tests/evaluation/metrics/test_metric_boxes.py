"""Overlaps of boxes by hand and by counting pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.evaluation.metrics.boxes import hit_at_iou, iou

BOX = st.tuples(*[st.integers(0, 8)] * 4).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))


def pixels(box):
    out = np.zeros((20, 20), bool)
    out[box[1] : box[3], box[0] : box[2]] = True
    return out


@settings(deadline=None, max_examples=200)
@given(BOX, BOX)
def test_it_is_the_share_of_pixels(one, other):
    both, either = (pixels(one) & pixels(other)).sum(), (pixels(one) | pixels(other)).sum()
    found = iou(np.array([one], float), np.array([other], float))
    assert found[0] == pytest.approx(both / either if either else 0)
    assert found == iou(np.array([other], float), np.array([one], float))


def test_by_hand():
    true = np.tile([0.0, 0, 4, 4], (6, 1))
    found = np.array([[0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 1.9], [4, 4, 8, 8], [3, 3, 1, 1], [np.nan, 0, 4, 4]])
    np.testing.assert_allclose(iou(found, true), [1, 0.5, 0.475, 0, 0, 0])
    assert hit_at_iou(found, true).tolist() == [1, 1, 0, 0, 0, 0]
    assert hit_at_iou(found, true, 0.4).tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="above 0 and at most 1, got 0"):
        hit_at_iou(found, true, 0)
