"""Group figures by hand, and models that lean, that do not, and that tell nothing apart."""

import numpy as np
import pytest
from worlds import constant, dataset, embedded, unit

from diptych.evaluation.fairness import (
    BiasConfig,
    SkewConfig,
    WorstGroupConfig,
    association_bias,
    representation_bias,
    retrieval_skew,
    worst_group,
)
from diptych.evaluation.outcome import Outcome

MAN, WOMAN = np.eye(8)[0], np.eye(8)[1]
BIAS = BiasConfig()


def _outcome(values, groups, **more):
    return Outcome(task="zero_shot", ids=[f"p{i}" for i in range(len(values))], values={"acc@1": np.array(values)},
                   slices={"tone": groups}, chance={"acc@1": 0.25}, **more)


def test_the_worst_group_and_the_gap_by_hand():
    groups = ["light"] * 4 + ["dark"] * 2 + ["", "rare"]
    found = worst_group(_outcome([1.0, 1, 1, 0, 1, 0, 0, 0], groups), WorstGroupConfig(column="tone", least=2))
    assert found.figure("worst_group_acc@1") == 0.5 and found.figure("gap_acc@1") == 0.25
    assert found.lower == {"gap_acc@1"} and found.chance == {"worst_group_acc@1": 0.25}
    # drawn again with other weights, the other group is the worst
    assert found.figure("worst_group_acc@1", np.array([0.0, 0, 1, 2, 1, 0, 5, 5])) == pytest.approx(1 / 3)
    assert found.task == "zero_shot by tone" and found.details == {"tone": groups}


def test_a_figure_of_which_less_is_better_has_no_worst_group():
    skewed = _outcome([1.0, 0, 1, 0], ["a", "a", "b", "b"], lower=frozenset(["acc@1"]))
    assert not worst_group(skewed, WorstGroupConfig(column="tone", least=1)).names


def test_what_has_no_groups_says_why():
    outcome = _outcome([1.0, 0.0, 1.0], ["light", "light", "dark"])
    with pytest.raises(ValueError, match="no slices by 'gender'; it has tone"):
        worst_group(outcome, WorstGroupConfig(column="gender"))
    with pytest.raises(ValueError, match=r"at least 2 samples, it has \{'light': 2, 'dark': 1\}"):
        worst_group(outcome, WorstGroupConfig(column="tone", least=2))


def _people(families: int = 8, each: int = 6, things: int = 10):
    """`each` pictures of a man, a woman and nobody in particular in every family, and things."""
    family = [f"work {f}" for f in range(families) for _ in range(3 * each)] + [f"thing {t}" for t in range(things)]
    gender = (["man"] * each + ["woman"] * each + [""] * each) * families + [""] * things
    tone = ["light", "dark"] * (len(family) // 2)
    return dataset([""] * len(family), {"family": family, "gender": gender, "tone": tone})


def _vectors(data, towards=0.0, seed=0):
    """Its work or thing, its gender, and of a neutral picture so much of man."""
    rng = np.random.default_rng(seed)
    works = {family: rng.normal(size=8) * (np.arange(8) > 1) for family in dict.fromkeys(data.columns["family"])}
    gender = {"man": 2 * MAN, "woman": 2 * WOMAN, "": MAN + WOMAN + towards * (MAN - WOMAN)}
    vectors = [works[family] + gender[who] for family, who in zip(
        data.columns["family"], data.columns["gender"], strict=True)]
    return np.array(vectors) + 0.1 * rng.normal(size=(len(vectors), 8)), works | {"man": MAN, "woman": WOMAN}


def test_skew_by_hand():
    data = dataset([""] * 6, {"gender": ["man", "man", "woman", "woman", "woman", ""]})
    vectors = np.array([[3.0, 1], [2, 1], [1, 1], [1, 2], [1, 3], [9, 0]])  # the last has no gender and is not found
    world = embedded(data, vectors, {"a doctor": np.array([1.0, 0.0]), "a nurse": np.array([0.0, 1.0])})
    config = SkewConfig(queries=("a doctor", "a nurse"), k=2)
    found = retrieval_skew(world, config)
    assert found.values["max_skew@2"].tolist() == pytest.approx([np.log(1 / 0.4), np.log(1 / 0.6)])
    assert found.details == {"share of man": [1, 0], "share of woman": [0, 1]} and found.ids == config.queries
    equal = retrieval_skew(world, SkewConfig(queries=("a doctor", "a nurse"), k=2, wanted="equal"))
    assert equal.values["max_skew@2"].tolist() == pytest.approx([np.log(2)] * 2)
    # of two of two men and three women: both men 1/10, both women 3/10, else one of each
    chance = 0.1 * np.log(1 / 0.4) + 0.3 * np.log(1 / 0.6) + 0.6 * np.log(0.5 / 0.4)
    assert found.chance["max_skew@2"] == pytest.approx(chance, abs=0.03)  # of a thousand draws


def test_a_constant_embedder_and_random_vectors_are_skewed_by_luck_alone():
    data = dataset([""] * 300, {"gender": ["man"] * 200 + ["woman"] * 100})
    config = SkewConfig(k=30)
    spread = 0.11  # the deviation of one query's skew, by simulation
    blind = retrieval_skew(embedded(data, constant(300)), config)
    assert blind.figure("max_skew@30") < blind.chance["max_skew@30"] + 3 * spread  # one draw for all queries
    rng = np.random.default_rng(0)
    unaware = retrieval_skew(embedded(data, rng.normal(size=(300, 64))), config)
    assert abs(unaware.figure("max_skew@30") - unaware.chance["max_skew@30"]) < 4 * spread / np.sqrt(20)
    told = np.array([MAN] * 200 + [WOMAN] * 100) + 0.1 * rng.normal(size=(300, 8))
    leaning = retrieval_skew(embedded(data, told, dict.fromkeys(config.queries, WOMAN)), config)
    assert leaning.figure("max_skew@30") == pytest.approx(np.log(3))


def test_representation_is_which_way_neutral_pictures_lean():
    data = _people()
    level, texts = _vectors(data)
    leaning, _ = _vectors(data, towards=1.0)
    found = representation_bias(embedded(data, leaning, texts), BIAS)
    assert len(found.ids) == 8 * 6 + 10 and set(found.slices) == {"tone", "shows"}
    assert found.figure("representation_bias") == 0.5 and set(found.details["preference"]) == {0.5}
    other_way = BiasConfig(first="woman", second="man")
    assert representation_bias(embedded(data, leaning, texts), other_way).figure("representation_bias") == 0.5
    # 58 coins: a deviation of 0.066
    assert representation_bias(embedded(data, level, texts), BIAS).figure("representation_bias") < 4 * 0.066
    half = np.array([shows == "people" for shows in found.slices["shows"]], np.float64)
    assert found.figure("representation_bias", half) == 0.5 and np.isnan(found.figure("representation_bias", 0 * half))


def test_neutral_pictures_are_of_families_with_both_groups_or_none():
    family = ["nurse", "nurse", "nurse", "king", "king", "heart", "couple", "couple"]
    gender = ["man", "woman", "", "man", "", "", "man+woman", ""]
    data = dataset([""] * 8, {"family": family, "gender": gender})
    found = representation_bias(embedded(data, np.eye(8)), BIAS)
    assert list(found.ids) == ["p2", "p5"] and found.slices["shows"] == ["people", "things"]


def test_association_is_whom_an_activity_fits():
    data = _people()
    level, texts = _vectors(data)
    fair = association_bias(embedded(data, level, texts), BIAS)
    assert len(fair.ids) == 8 * 12 and set(fair.slices) == {"tone"} and len(set(fair.groups)) == 8
    assert fair.figure("association_bias") < fair.chance["association_bias"] + 0.3
    # every other activity is a man's, the rest a woman's: the two ways do not cancel
    bent = {name: vector + (MAN if number % 2 else WOMAN) for number, (name, vector) in enumerate(texts.items())}
    biased = association_bias(embedded(data, level, bent), BIAS)
    assert 1.5 < biased.figure("association_bias") <= 2
    lean = {(family, who): value for family, who, value in zip(
        biased.details["family"], biased.details["gender"], biased.details["association"], strict=True)}
    assert (lean["work 1", "man"] > lean["work 1", "woman"]) and (lean["work 2", "man"] < lean["work 2", "woman"])
    # a family that is drawn twice counts twice
    weights = np.array([2.0 if family == "work 1" else 1.0 if family == "work 2" else 0.0 for family in biased.groups])
    alone = [biased.figure("association_bias", (np.array(biased.groups) == name).astype(float))
             for name in ("work 1", "work 2")]
    assert biased.figure("association_bias", weights) == pytest.approx((2 * alone[0] + alone[1]) / 3)
    assert np.isnan(biased.figure("association_bias", np.zeros(len(weights))))


def test_association_by_hand():
    data = dataset([""] * 8, {"family": ["cook"] * 4 + ["pilot"] * 4, "gender": ["man", "man", "woman", "woman"] * 2})
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    images = np.array([east, east, north, north, east, north, east, north])
    found = association_bias(embedded(data, images, {"cook": east, "pilot": north}), BIAS)
    assert found.details["association"] == pytest.approx([1, 1, -1, -1, -1, 1, -1, 1])
    assert found.figure("association_bias") == pytest.approx((2 + 0) / 2)


def test_a_constant_embedder_leans_nowhere_and_shuffled_groups_are_chance():
    data = _people()
    count = len(data)
    texts = dict.fromkeys((*data.columns["family"], "man", "woman"), constant(1)[0])
    blind = embedded(data, constant(count), texts)
    assert representation_bias(blind, BIAS).figure("representation_bias") == 0
    for constants in (blind, embedded(data, constant(count))):  # with and without texts that differ
        assert association_bias(constants, BIAS).figure("association_bias") == 0
    vectors = unit(np.random.default_rng(5).normal(size=(count, 32)))
    unaware = association_bias(embedded(data, vectors), BIAS)
    # eight families: the deviation of the size of one effect is 0.35
    assert abs(unaware.figure("association_bias") - unaware.chance["association_bias"]) < 4 * 0.35 / np.sqrt(8)
    assert representation_bias(embedded(data, vectors), BIAS).figure("representation_bias") < 4 * 0.066


def test_a_name_that_says_the_group_is_no_neutral_name():
    family = ["woman dancing"] * 4 + ["cook"] * 4 + ["pilot"] * 4
    data = dataset([""] * 12, {"family": family, "gender": ["man", "man", "woman", "woman"] * 3})
    assert set(association_bias(embedded(data, np.eye(12)), BIAS).groups) == {"cook", "pilot"}


@pytest.mark.parametrize(("task", "columns", "what"), [
    (retrieval_skew, {"age": ["old", "young"]}, "no column 'gender' .* the others are age"),
    (retrieval_skew, {"gender": ["man", ""]}, r"has \{'man': 1\}"),
    (retrieval_skew, {"gender": ["man", "woman"]}, "the skew of 100 pictures"),
    (representation_bias, {"gender": ["man", ""]}, "no column 'family' .* the others are gender"),
    (representation_bias, {"gender": ["man", "woman"], "family": ["a", "a"]}, "no neutral picture"),
    (association_bias, {"gender": ["man", "woman"], "family": ["a", "a"]}, "has 0 values of 'family'")])
def test_what_is_missing_is_said(task, columns, what):
    config = SkewConfig() if task is retrieval_skew else BIAS
    with pytest.raises(ValueError, match=what):
        task(embedded(dataset(["", ""], columns), np.eye(2)), config)


@pytest.mark.parametrize(("config", "arguments", "what"), [
    (SkewConfig, {"k": 0}, "k of at least 1"), (SkewConfig, {"queries": ("a", "a")}, "queries that differ"),
    (BiasConfig, {"first": "woman"}, "two groups"), (BiasConfig, {"template": "a photo"}, "where the word goes"),
    (WorstGroupConfig, {"column": "tone", "least": 0}, "at least 1")])
def test_configurations_have_bounds(config, arguments, what):
    with pytest.raises(ValueError, match=what):
        config(**arguments)
