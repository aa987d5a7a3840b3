"""Probes against scikit-learn, with vectors that know the classes, that know nothing, and with shuffled labels."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from worlds import constant, dataset, embedded, knowing

from diptych.evaluation import probes as module
from diptych.evaluation.probes import (
    FewShotConfig,
    LinearProbeConfig,
    NeighboursConfig,
    few_shot,
    linear_probe,
    nearest_neighbours,
)
from diptych.evaluation.split import SplitConfig

CLASSES = list("abcdefgh")
LABELS = CLASSES * 30
PARTS = ["train"] * 120 + ["val"] * 40 + ["test"] * 80
TASKS = [(linear_probe, LinearProbeConfig()), (nearest_neighbours, NeighboursConfig()),
         (few_shot, FewShotConfig(shots=(1, 4), supports=2))]


def _world(vectors: np.ndarray, labels=LABELS, **more):
    return embedded(dataset(labels, {"split": PARTS, "vendor": ["x", "y", "y"] * 80, **more}), vectors)


def test_the_linear_probe_is_scikit_learns_with_the_best_decay_of_the_grid():
    world = _world(knowing(LABELS, noise=1.6))
    found = linear_probe(world, LinearProbeConfig())
    train, val, test = (np.array([part == name for part in PARTS]) for name in ("train", "val", "test"))
    labels, vectors = np.array(LABELS), world.images.astype(np.float64)
    scaled = (vectors - vectors[train].mean(0)) / (vectors[train] - vectors[train].mean(0)).std()
    grid = 10.0 ** np.linspace(6, -6, 25)
    probes = [LogisticRegression(C=1 / decay, max_iter=1000).fit(scaled[train], labels[train]) for decay in grid]
    best = grid[np.argmax([probe.score(scaled[val], labels[val]) for probe in probes])]
    oracle = LogisticRegression(C=1 / best, max_iter=1000).fit(scaled[train | val], labels[train | val])
    assert found.ids == [f"p{number}" for number in range(160, 240)] and set(found.slices) == {"vendor"}
    # the searched grid is finer, and a decay beside the best changes an answer in twenty at most
    assert found.figure("acc@1") == pytest.approx(oracle.score(scaled[test], labels[test]), abs=0.05)
    assert np.mean(np.array(found.details["predicted"]) == oracle.predict(scaled[test])) >= 0.95
    assert found.details["expected"] == LABELS[160:]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5)])
def test_neighbours_are_scikit_learns(k, temperature, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 160 * 7)  # blocks of seven
    world = _world(knowing(LABELS, noise=1.6))
    found = nearest_neighbours(world, NeighboursConfig(neighbours=k, temperature=temperature))
    oracle = KNeighborsClassifier(k, metric="cosine", weights=lambda far: np.exp((1 - far) / temperature))
    oracle.fit(world.images[:160], LABELS[:160])
    assert found.details["predicted"] == oracle.predict(world.images[160:]).tolist()
    assert found.figure("acc@1") == oracle.score(world.images[160:], LABELS[160:])
    votes = oracle.predict_proba(world.images[160:])
    truth = np.searchsorted(oracle.classes_, LABELS[160:])
    above = (votes >= votes[np.arange(80), truth][:, None]).sum(axis=1)  # itself, the better and the tied
    np.testing.assert_array_equal(found.values["acc@5"], above <= 5)


def test_recall_is_the_mean_over_classes():
    labels = ["a"] * 60 + ["b"] * 20
    parts = ["train"] * 30 + ["test"] * 30 + ["train"] * 10 + ["test"] * 10
    vectors = np.array([[1.0, 0.0]] * 60 + [[0.0, 1.0]] * 15 + [[1.0, 0.0]] * 5)
    found = nearest_neighbours(embedded(dataset(labels, {"split": parts}), vectors), NeighboursConfig(neighbours=3))
    assert found.figure("acc@1") == pytest.approx(35 / 40)
    assert found.figure("mean_per_class_recall") == pytest.approx((1 + 5 / 10) / 2)
    assert found.chance["acc@1"] == 30 / 40 and found.chance["mean_per_class_recall"] == 1 / 2
    assert "acc@5" not in found.values  # of two classes, five are no feat


def test_a_support_is_so_many_different_pictures_of_each_class_and_the_same_for_every_model():
    labels = ["a"] * 20 + ["b"] * 20 + ["c"] * 6
    same = [*range(20), *[20 + i // 2 for i in range(20)], *range(40, 46)]  # each b is there twice
    data = dataset(labels, same=same)
    problem = module._problem(data, None, SplitConfig(test=0.3))
    first, again, other = (module._support(data, problem, 0, number) for number in (0, 0, 1))
    assert first == again and first != other
    train = set(problem.parts.train.tolist())
    for name, pictures in first.items():
        assert set(pictures) <= train and {labels[p] for p in pictures} == {problem.names[name]}
        assert len({same[p] for p in pictures}) == len(pictures)
    assert len(first[1]) == len({same[p] for p in train if labels[p] == "b"})


def test_more_shots_than_any_class_has_are_not_tried():
    labels = ["a", "b"] * 12
    one = embedded(dataset(labels), knowing(labels))
    found = few_shot(one, FewShotConfig(shots=(1, 4, 64), supports=1))
    assert set(found.values) == {"acc@1_1shot", "acc@1_4shot"}
    with pytest.raises(ValueError, match="no class of made up has 64 different training pictures, the most are"):
        few_shot(one, FewShotConfig(shots=(64,), supports=1))


def test_more_shots_teach_more_and_one_shot_is_the_nearest_example():
    world = _world(knowing(LABELS, noise=1.2))
    found = few_shot(world, FewShotConfig(shots=(1, 2, 8), supports=3))
    assert found.figure("acc@1_1shot") < found.figure("acc@1_2shot") < found.figure("acc@1_8shot")
    assert set(np.unique(found.values["acc@1_2shot"] * 3).round(9)) == {0, 1, 2, 3}
    assert found.chance == dict.fromkeys(found.values, 1 / 8) and "support" not in found.slices
    # with one example of each class and a strong decay a regression is the nearest example; it decides nearly alike
    examples = module._support(world.data, module._problem(world.data, None, SplitConfig()), 0, 0)
    single = few_shot(world, FewShotConfig(shots=(1,), supports=1))
    nearest = [LABELS[[p for p, *_ in examples.values()][i]]
               for i in (world.images[160:] @ world.images[[p for p, *_ in examples.values()]].T).argmax(axis=1)]
    assert np.mean(np.array(nearest) == single.details["predicted"]) > 0.8


def test_classes_with_too_few_pictures_are_told(capsys):
    from diptych.core import telemetry

    labels = ["a"] * 40 + ["b"] * 40 + ["c"] * 8 + ["once"]
    telemetry.show_progress(True)
    found = few_shot(embedded(dataset(labels), knowing(labels)), FewShotConfig(shots=(1, 8), supports=1))
    said = capsys.readouterr().err
    assert "1 of 3 classes of made up give all they have, fewer than 8 different training pictures: c" in said
    assert "a class with one picture cannot be learned and tested: once" in said
    assert {(label, support) for label, support in zip(found.details["expected"], found.slices["support"], strict=True)
            } == {("a", "8"), ("b", "8"), ("c", "fewer than 8")}


@pytest.mark.parametrize(("task", "config"), TASKS)
def test_a_constant_embedder_is_no_better_than_chance(task, config):
    found = task(_world(constant(240)), config)
    for name in found.names:
        assert found.figure(name) <= found.chance[name] + 1e-12, name


@pytest.mark.parametrize(("task", "config"), TASKS)
def test_a_constant_embedder_gains_nothing_where_one_class_is_frequent(task, config):
    labels = [("a", "b", "a", "c", "a", "a")[number % 6] for number in range(240)]
    found = task(_world(constant(240), labels), config)
    for name in found.names:
        assert found.figure(name) <= found.chance[name] + 1e-12, name


@pytest.mark.parametrize(("task", "config"), TASKS)
def test_shuffled_labels_score_chance_and_true_ones_do_not(task, config):
    labels = CLASSES * 150
    vectors = knowing(labels, noise=0.5)
    parts = ["train"] * 320 + ["val"] * 80 + ["test"] * 800
    shuffled = np.random.default_rng(3).permutation(labels).tolist()
    blind = task(embedded(dataset(shuffled, {"split": parts}), vectors), config)
    know = task(embedded(dataset(labels, {"split": parts}), vectors), config)
    for name, values in blind.values.items():
        chance = 5 / 8 if name == "acc@5" else 1 / 8
        assert abs(values.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / 800)  # four standard errors
        assert know.figure(name) > 0.7 > chance


@pytest.mark.parametrize(("task", "config"), TASKS)
def test_a_column_can_be_probed_and_is_then_no_slice(task, config):
    vendor = ["x", "y", "y"] * 80
    world = _world(knowing(vendor), labels=[""] * 240)
    found = task(world, replace(config, column="vendor"))
    assert Counter(found.details["expected"]) == Counter(vendor[160:]) and "vendor" not in found.slices
    assert found.figure(found.names[-1]) > 0.9


def test_what_cannot_be_probed_says_why():
    with pytest.raises(ValueError, match=r"no column 'species' .* the others are split, vendor"):
        linear_probe(_world(constant(240)), LinearProbeConfig(column="species"))
    with pytest.raises(ValueError, match="ask for fewer"):
        nearest_neighbours(_world(constant(240)), NeighboursConfig(neighbours=161))
    pairs = embedded(dataset(["a", "a", "b", "b"]), np.eye(4))
    with pytest.raises(ValueError, match="three pictures"):
        linear_probe(pairs, LinearProbeConfig())
    assert len(nearest_neighbours(pairs, NeighboursConfig(neighbours=1)).ids) == 2


@pytest.mark.parametrize(("config", "arguments"), [
    (LinearProbeConfig, {"iterations": 0}), (FewShotConfig, {"shots": ()}), (FewShotConfig, {"shots": (0, 1)}),
    (FewShotConfig, {"shots": (2, 2)}), (FewShotConfig, {"supports": 0}), (NeighboursConfig, {"neighbours": 0}),
    (NeighboursConfig, {"temperature": 0.0})])
def test_configurations_have_bounds(config, arguments):
    with pytest.raises(ValueError, match="at least 1"):
        config(**arguments)
