"""Who is best, and who is not dominated, against the definitions written out."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparisons import comparison
from diptych.evaluation.report.ranking import (
    against,
    by_key,
    fastest,
    flipped,
    main_keys,
    non_dominated,
    order,
    ranked,
    smallest,
    trades,
)
from diptych.evaluation.result import Cost, Figure, Rate

COORDINATES = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=9)


def figure(model, value, **more):
    return Figure(**{"model": model, "task": "t", "name": "acc@1", "value": value, "low": value, "high": value,
                     "count": 10, **more})


@settings(deadline=None)
@given(COORDINATES)
def test_a_point_stays_unless_another_is_as_small_everywhere_and_smaller_somewhere(points):
    oracle = [not any(all(o[i] <= p[i] for i in range(3)) and any(o[i] < p[i] for i in range(3)) for o in points)
              for p in points]
    assert non_dominated(points) == oracle
    assert any(oracle)  # somebody always stays


def test_non_dominated_by_hand():
    assert non_dominated([(1, 5, 5), (2, 4, 9), (2, 5, 5), (9, 9, 1)]) == [True, True, False, True]
    assert non_dominated([(1, 1, 1), (1, 1, 1)]) == [True, True]  # equals do not dominate each other


def test_the_best_comes_first_whatever_better_means_and_the_unknown_last():
    rising = [figure("a", 0.5), figure("b", math.nan), figure("c", 0.9)]
    assert [f.model for f in ranked(("t", "acc@1"), rising)] == ["c", "a", "b"]
    falling = [replace(f, better="lower") for f in rising]
    assert [f.model for f in ranked(("t", "acc@1"), falling)] == ["a", "c", "b"]
    parts = [*rising, figure("z", 1.0, slice="language=de"), figure("z", 1.0, name="acc@5")]
    assert [f.model for f in ranked(("t", "acc@1"), parts)] == ["c", "a", "b"]


def test_models_without_the_headline_stand_last_as_they_were_given():
    whole = comparison()
    without = tuple(f for f in whole.figures if f.model != "siglip2-base-patch16-224")
    assert order(replace(whole, figures=without)) == ("diptych-tiny", "mobileclip-s0", "siglip2-base-patch16-224")


def test_results_of_a_model_that_is_not_there_are_refused():
    whole = comparison()
    with pytest.raises(ValueError, match="'mobileclip-s0' has results but is not among the models"):
        order(replace(whole, models=whole.models[:2]))
    with pytest.raises(ValueError, match="'x' has results"):
        order(replace(whole, costs=(cost("x", 1.0, 1),)))


def test_every_task_is_represented_once_and_the_headline_first():
    figures = [figure("a", 0.1, task="x", name="hit@1"), figure("a", 0.1, task="x", name="hit@5"),
               figure("a", 0.1, task="y", slice="domain=1"), figure("a", 0.1)]
    assert main_keys(("x", "hit@5"), figures) == (("x", "hit@5", ""), ("t", "acc@1", ""))
    pairs = [Figure(model="a", task="winoground", name=name, value=0.5, low=0.4, high=0.6, count=9)
             for name in ("text", "image", "group")]
    assert main_keys(("x", "hit@5"), [*pairs, *figures])[1:] == (("winoground", "group", ""), ("t", "acc@1", ""))


def test_a_difference_said_of_the_other_model_and_back():
    for difference in comparison().differences:
        other = flipped(difference)
        assert (other.model, other.other) == (difference.other, difference.model)
        assert (other.value, other.low, other.high) == (-difference.value, -difference.high, -difference.low)
        assert {difference.verdict, other.verdict} in ({"better", "worse"}, {"not distinguishable"})
        assert flipped(other) == difference


def test_differences_to_the_best_are_found_from_either_side():
    whole = comparison()
    key = ("zero_shot", "acc@1", "")
    best, *others = order(whole)
    for turned in (whole.differences, [flipped(d) for d in whole.differences]):
        found = against(best, turned)
        assert all(d.other == best for d in found.values())
        for model in others:
            own = by_key(whole.figures)[key]
            assert found[model, key].value == pytest.approx(own[model].value - own[best].value)


def cost(model, seconds, memory, batches=(1, 8)):
    rates = tuple(Rate(what="images", batch=batch, per_second=batch / seconds, p50_s=seconds, p95_s=seconds)
                  for batch in batches)
    return Cost(model=model, load_s=1.0, peak_memory=memory, weights_bytes=1, vector_bytes=1, image_gflops=None,
                text_gflops=None, rates=rates)


def test_a_trade_needs_both_and_is_worth_it_when_nothing_else_is_better_in_all():
    figures = [figure("good", 0.9), figure("quick", 0.6), figure("bad", 0.5), figure("unmeasured", 0.95)]
    costs = [cost("good", 0.1, 100), cost("quick", 0.01, 100), cost("bad", 0.1, 100), cost("unknown", 0.001, 1)]
    found = trades(("t", "acc@1"), figures, costs)
    assert [(t.figure.model, t.worth) for t in found] == [("good", True), ("quick", True), ("bad", False)]
    lower = trades(("t", "acc@1"), [replace(f, better="lower") for f in figures], costs)
    assert [(t.figure.model, t.worth) for t in lower] == [("bad", True), ("quick", True), ("good", False)]


def test_rates_of_a_cost():
    one = cost("a", 0.5, 1, batches=(8, 1, 32))
    assert smallest(one).batch == 1 and fastest(one, "images").batch == 32
    assert fastest(one, "texts") is None and smallest(replace(one, rates=())) is None
