"""Runs of a job one after another: what has changed is told on what both have, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from comparisons import comparison
from diptych.evaluation.history import RUNS, add_run, last_run, since
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.result import Figure, Point, Views
from diptych.evaluation.suite import Evaluated

COUNT = 40


def outcome(share, task="text_to_image", expected=None, names=("hit@1", "mrr"), count=COUNT):
    """The first `share` of the queries find theirs."""
    found = (np.arange(count) < share * count).astype(float)
    return Outcome(task=task, ids=[f"en|{i}" for i in range(count)], values=dict.fromkeys(names, found),
                   groups=[str(i) for i in range(count)],
                   details={"expected": expected or [[f"p{i}", "twin"] for i in range(count)]})


def run(outcomes, day=1, name="collection:trips"):
    created = f"2026-11-{day:02}T03:30:00+00:00"
    figures = tuple(Figure(model=model, task=task, name="hit@1", value=one.figure("hit@1"), low=0.0, high=1.0,
                           count=COUNT) for task, by_model in outcomes.items() for model, one in by_model.items())
    made = comparison(figures=figures, differences=(), costs=(), headline=("text_to_image", "hit@1"),
                      sentences=("Said.",), history=None, views=Views())
    models = tuple(replace(made.models[0], name=name) for name in next(iter(outcomes.values())))
    return Evaluated(outcomes=outcomes, comparison=replace(
        made, models=models, data=replace(made.data, name=name), provenance=replace(made.provenance, created=created)))


@pytest.fixture
def history(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.evaluation.report.files.page", lambda comparison: "the page has tests of its own")
    return tmp_path / "history"


def test_the_first_run_the_same_again_and_a_worse_one(history):
    first, report = add_run(run({"text_to_image": {"tiny": outcome(0.8)}}), history)
    assert first.history.before == "" and not first.history.worse and report.exists()
    assert first.sentences == ("Said.", "tiny, text to image hit@1 80.0% (0.0–100.0).",
                               "This is the first run; the next one is compared with it.")
    again, _ = add_run(run({"text_to_image": {"tiny": outcome(0.8)}}, day=2), history)
    [same] = again.history.differences  # mrr decides nothing
    assert (same.value, same.verdict, same.count) == (0.0, "not distinguishable", COUNT) and not again.history.worse
    assert again.sentences[1].endswith(": as on 2026-11-01 03:30.")
    worse, _ = add_run(run({"text_to_image": {"tiny": outcome(0.3)}}, day=3), history)
    [told] = worse.history.differences
    assert told.value == -0.5 and told.verdict == "worse" and told.p < 0.001 and worse.history.worse
    assert worse.sentences[1] == ("tiny, text to image hit@1 30.0% (0.0–100.0): 50.0 points less than on 2026-11-02 "
                                  "03:30, p < 0.001.")
    better, _ = add_run(run({"text_to_image": {"tiny": outcome(0.9)}}, day=4), history)
    assert better.history.differences[0].verdict == "better" and not better.history.worse
    assert [point.value for point in better.history.trend] == [0.8, 0.8, 0.3, 0.9]


def test_only_queries_that_expect_the_same_count(history):
    add_run(run({"text_to_image": {"tiny": outcome(1.0)}}), history)
    changed = [["twin", f"p{i}"] if i < 10 else ["another"] for i in range(COUNT)]
    now, _ = add_run(run({"text_to_image": {"tiny": outcome(0.5, expected=changed)}}, day=2), history)
    [told] = now.history.differences
    assert told.count == 10 and told.value == 0.0  # in any order; the thirty others ask for something else by now
    shorter, _ = add_run(run({"text_to_image": {"tiny": outcome(1.0, expected=changed[:5], count=5)}}, day=3), history)
    assert shorter.history.differences[0].count == 5


def test_what_is_served_is_compared_whatever_the_model(history):
    add_run(run({"text_to_image": {"old": outcome(0.9)}, "served": {"old": outcome(0.9, "served")}}), history)
    now, _ = add_run(run({"text_to_image": {"new": outcome(0.2)}, "served": {"new": outcome(0.2, "served")}}, day=2),
                     history)
    [told] = now.history.differences
    assert (told.task, told.model, told.other, told.verdict) == ("served", "new", "old, 2026-11-01 03:30", "worse")


def test_tests_are_corrected_together(history):
    tasks = {task: {"tiny": outcome(0.8, task)} for task in ("text_to_image", "served")}
    add_run(run(tasks), history)
    worse = {task: {"tiny": outcome(0.65, task)} for task in tasks}
    before = last_run(history, "collection:trips")
    for told in since(before, worse):
        assert told.p < 0.05 < told.p_holm and told.verdict == "not distinguishable"
    [alone] = since(before, {"served": worse["served"]})
    assert alone.verdict == "worse"


def test_what_is_not_of_this_job_is_passed_over(history):
    add_run(run({"text_to_image": {"tiny": outcome(0.8)}}, name="collection:other"), history)
    (history / "2026-99").mkdir()
    (history / "2026-99" / "comparison.json").write_text("{}")  # of another version
    (history / "2026-98").mkdir()  # killed
    assert last_run(history, "collection:trips") is None
    found, _ = add_run(run({"text_to_image": {"tiny": outcome(0.1)}}), history)
    assert found.history.before == "" and not found.history.worse


def test_a_lost_table_is_nothing_to_compare_with(history):
    add_run(run({"text_to_image": {"tiny": outcome(0.8)}}), history)
    next(history.rglob("*.parquet")).unlink()
    found, _ = add_run(run({"text_to_image": {"tiny": outcome(0.1)}}, day=2), history)
    assert found.history.differences == () and found.history.before and found.sentences[1].endswith("(0.0–100.0).")


def test_the_trend_has_an_end(history, monkeypatch):
    found = run({"text_to_image": {"tiny": outcome(0.8)}}, day=2)
    earlier = tuple(Point(created=f"{year}-01-01", model="tiny", task="text_to_image", name="hit@1", value=0.5, low=0.4,
                          high=0.6) for year in range(1000, 1000 + RUNS))
    add_run(found, history)
    before = last_run(history, "collection:trips")
    grown = replace(before.comparison, history=replace(before.comparison.history, trend=earlier))
    monkeypatch.setattr("diptych.evaluation.history.last_run", lambda *_: replace(before, comparison=grown))
    again, _ = add_run(found, history)
    assert len(again.history.trend) == RUNS and again.history.trend[0].created == "1001-01-01"
