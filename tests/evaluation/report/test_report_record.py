"""comparison.json is JSON for everybody, and comes back as it was."""

import json
import math
from dataclasses import replace

import pytest

from comparisons import comparison
from diptych.core.config import to_dict
from diptych.evaluation.report.record import from_json, to_json


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def same(one, other):
    """Equal, and NaN where the other has NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (type(one) is type(other) and one == other)


def test_a_comparison_comes_back_as_it_was():
    whole = comparison()
    assert any(math.isnan(figure.low) for figure in whole.figures)
    back = from_json(to_json(whole))
    assert same(to_dict(back), to_dict(whole))
    assert back.views.grids == whole.views.grids  # records, not dictionaries
    assert back.costs == whole.costs and back.costs[2].text_gflops is None
    assert to_json(back) == to_json(whole)


def test_what_is_no_number_is_null():
    whole = comparison()
    odd = replace(whole.figures[0], value=math.nan, high=math.inf)
    values = strict(to_json(replace(whole, figures=(odd,))))
    assert values["figures"][0]["value"] is None and values["figures"][0]["high"] is None
    back = from_json(json.dumps(values)).figures[0]
    assert math.isnan(back.value) and math.isnan(back.high) and back.chance == odd.chance


def test_another_schema_is_refused():
    values = strict(to_json(comparison()))
    with pytest.raises(ValueError, match="expected a comparison of schema 1, got schema 2"):
        from_json(json.dumps({**values, "schema": 2}))
    with pytest.raises(ValueError, match="schema None"):
        from_json("[]")
    with pytest.raises(ValueError, match="no setting 'extra'"):
        from_json(json.dumps({**values, "extra": 1}))
