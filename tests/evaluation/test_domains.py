"""Domain shift on vectors whose domains turn the classes, against scikit-learn; equal teaching, split by thing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from worlds import constant, dataset, embedded, knowing

from diptych.evaluation import domains as module
from diptych.evaluation.domains import DomainsConfig, domains
from diptych.evaluation.intervals import figures_of

CLASSES, DOMAINS = list("abcd"), ["photo", "sketch", "toy"]
LABELS = CLASSES * 60
WHERE = np.repeat(DOMAINS, 80).tolist()
CONFIG = DomainsConfig(iterations=100)


def shifted(noise=0.4):
    """Photos and sketches agree; a toy of one class looks like the next one."""
    shown = [CLASSES[(CLASSES.index(label) + 1) % 4] if where == "toy" else label
             for label, where in zip(LABELS, WHERE, strict=True)]
    return knowing(shown, noise=noise)


def world(vectors, **more):
    return embedded(dataset(LABELS, {"domain": WHERE}, **more), vectors)


def cells(found):
    return {(f.name.removeprefix("acc@1_from_"), f.slice.removeprefix("domain=")): f.value
            for f in figures_of(found, "m", slices=True, draws=100) if f.slice}


def test_what_moves_between_domains_is_seen():
    found = domains(world(shifted()), CONFIG)
    matrix = cells(found)
    assert all(matrix[name, name] > 0.9 for name in DOMAINS)
    assert matrix["photo", "sketch"] > 0.9 and matrix["photo", "toy"] < 0.1 and matrix["toy", "sketch"] < 0.1
    inside = np.mean([matrix[name, name] for name in DOMAINS])
    outside = [matrix[a, b] for a in DOMAINS for b in DOMAINS if a != b]
    assert found.figure("in_domain") == pytest.approx(inside)
    assert found.figure("out_of_domain") == pytest.approx(np.mean(outside))
    assert found.figure("gap") == pytest.approx(inside - np.mean(outside))
    assert found.figure("worst_out_of_domain") == min(outside)
    assert found.chance["out_of_domain"] == 1 / 4 and found.lower == found.amounts == {"gap"}
    tested = [sum(where == name for where in found.slices["domain"]) for name in DOMAINS]
    worth = {name: statistic.worth_of(np.arange(len(found.ids))) for name, statistic in found.statistics.items()}
    assert worth["out_of_domain"] == worth["in_domain"] == 3 * min(tested)
    assert worth["worst_out_of_domain"] == min(tested)
    for figure in figures_of(found, "m", draws=100):
        assert figure.low <= figure.value <= figure.high


def test_a_cell_is_scikit_learns(monkeypatch):
    monkeypatch.setattr(module, "best_decay", lambda accuracy: accuracy(1.0) and 1.0)
    one = world(shifted(noise=2.0))
    task = module._Task.of(one.data, CONFIG)
    taught = [task.taught(task.parts.train, at, 0) for at in range(3)]
    features = module.scaled(one.images, np.concatenate(taught))
    both = task.taught(np.concatenate([task.parts.train, task.parts.val]), 0, 0)
    oracle = LogisticRegression(max_iter=1000).fit(features[both], np.array(LABELS)[both])
    test = task.parts.test[task.domain[task.parts.test] == 1]
    assert cells(domains(one, CONFIG))["photo", "sketch"] == pytest.approx(
        oracle.score(features[test], np.array(LABELS)[test]), abs=1 / len(test))


def test_every_domain_teaches_with_as_many():
    poor = [where if where != "toy" or number % 8 < 4 else "" for number, where in enumerate(WHERE)]
    data = dataset(LABELS, {"domain": poor})
    task = module._Task.of(data, CONFIG)
    taught = [Counter(LABELS[i] for i in task.taught(task.parts.train, at, 0)) for at in range(3)]
    assert taught[0] == taught[1] == taught[2] and set(taught[0]) == set(CLASSES)


def test_the_same_thing_is_on_one_side():
    things = [f"{label}{number % 80 // 4}" for number, label in enumerate(LABELS)]  # each in every domain
    data = replace(dataset(LABELS, {"domain": WHERE, "idea": things}), roles={"thing": "idea"})
    parts = module._Task.of(data, CONFIG).parts
    sides = [{things[i] for i in part} for part in (parts.train, parts.val, parts.test)]
    assert all(sides) and not (sides[0] & sides[2] or sides[1] & sides[2] or sides[0] & sides[1])


def test_a_constant_embedder_knows_no_domain():
    same = embedded(dataset(LABELS, {"domain": WHERE}), constant(240))
    found = domains(replace(same, texts=lambda wanted: same.images[: len(wanted)]), CONFIG)
    assert all(found.figure(name) == 0 for name in found.names)


@pytest.mark.parametrize(("where", "labels", "says"), [
    (None, LABELS, "has no column 'domain'"),
    (["photo"] * 240, LABELS, r"has one domain with classes \(photo\)"),
    (WHERE, ["a"] * 240, "1 classes of made up have 5 different pictures in each of 3 domains"),
    (WHERE, [f"{label} {where}" for label, where in zip(LABELS, WHERE, strict=True)], "0 classes of made up")])
def test_mistakes_are_told(where, labels, says):
    with pytest.raises(ValueError, match=says):
        domains(embedded(dataset(labels, {"domain": where} if where else {}), constant(240)), CONFIG)
