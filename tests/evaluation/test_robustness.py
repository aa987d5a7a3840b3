"""Damaged pictures and misspelled queries: what is measured, in which samples, and what cannot be."""

import numpy as np
import pytest

from coloured import classes
from diptych.evaluation.robustness import CorruptionsConfig, QueriesConfig, _beats, corruptions, queries
from diptych.evaluation.sets import open_dataset
from diptych.evaluation.vectors import embed_dataset, embedded
from diptych.evaluation.zero_shot import ZeroShotConfig
from fakes import COLOURS, ColourEmbedder, ConstantEmbedder

SOME = CorruptionsConfig(pictures=12, corruptions=("snow", "frost"), severities=(1, 5), neighbours=3,
                         zero_shot=ZeroShotConfig(templates="plain"))


def asked(folder, embedder):
    data = open_dataset(folder)
    return embedded(embedder, data, embed_dataset(embedder, data, "x").vectors, "x")


class LuckyEmbedder(ColourEmbedder):
    """It takes every colour but red for the next one: one in eight is right, as in guessing."""

    def embed_texts(self, texts):
        first, *others = COLOURS
        taken = {first: first} | dict(zip(others, others[1:] + others[:1], strict=True))
        return super().embed_texts([" ".join(taken.get(word, word) for word in text.split()) for text in texts])


@pytest.fixture
def captioned(tmp_path):
    rows = ["image,caption"]
    for name in COLOURS:
        for path in sorted((classes(tmp_path) / name).iterdir()):
            rows.append(f"{name}/{path.name},something {name}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "pairs.csv"


def test_corruptions_are_measured_for_every_kind_and_picture(tmp_path):
    outcome = corruptions(asked(classes(tmp_path), ColourEmbedder()), SOME)
    assert len(outcome.ids) == 12 * 4 and len(set(outcome.groups)) == 12
    assert set(outcome.slices["corruption"]) == {"snow", "frost"} and set(outcome.slices["severity"]) == {
        "1", "5"}
    strong = np.array(outcome.slices["severity"]) == "5"
    cosine = outcome.values["cosine"]
    assert cosine[~strong].mean() > cosine[strong].mean() and (cosine <= 1 + 1e-6).all()
    assert 0 < outcome.figure("right") < 1.0 and outcome.chance["right"] == 1 / len(COLOURS)


def test_retention_is_a_share_of_what_was_right_before(tmp_path):
    outcome = corruptions(asked(classes(tmp_path), ColourEmbedder()), SOME)  # all are right before
    assert outcome.figure("retention") == pytest.approx(outcome.figure("right"))
    weak = (np.array(outcome.slices["severity"]) == "1").astype(float)
    assert outcome.figure("retention", weak) == pytest.approx(outcome.values["right"][weak > 0].mean())
    nothing = corruptions(asked(classes(tmp_path / "b"), ConstantEmbedder()), SOME)
    assert nothing.figure("right") == 0.0 and "retention" not in nothing.names


def test_pictures_without_a_class_are_not_damaged(tmp_path):
    rows = ["image,label"]
    for name in COLOURS:
        for number, path in enumerate(sorted((classes(tmp_path) / name).iterdir())):
            rows.append(f"{name}/{path.name},{name if number else ''}")
    (tmp_path / "some.csv").write_text("\n".join(rows) + "\n")
    one = asked(tmp_path / "some.csv", ColourEmbedder())
    assert "" in one.data.labels
    found = corruptions(one, SOME)
    labelled = {id_ for id_, label in zip(one.data.ids, one.data.labels, strict=True) if label}
    assert set(found.groups) <= labelled and found.figure("clean_right") == 1
    assert found.figure("retention") == pytest.approx(found.figure("right"))


def test_what_is_right_without_damage_is_beside_it(tmp_path):
    found = corruptions(asked(classes(tmp_path), LuckyEmbedder()), SOME)
    by_picture = dict(zip(found.groups, found.values["clean_right"], strict=True))
    assert found.figure("clean_right") == np.mean(list(by_picture.values())) < 1
    assert found.chance["clean_right"] == found.chance["right"] == 1 / len(COLOURS)


@pytest.mark.parametrize(("chance", "right", "more"), [
    (1 / 12, 0, False), (1 / 12, 4, False), (1 / 12, 5, True), (1 / 12, 20, True), (0.0, 0, False), (0.0, 1, True)])
def test_chance_is_beaten_once_in_forty(chance, right, more):
    # of 20 with a chance of 1/12, four or more come in 8% of data sets, five or more in 2%
    assert _beats(chance, (np.arange(20) < right).astype(float)) is more


def test_who_is_no_better_than_chance_has_nothing_to_retain(tmp_path, captioned):
    guessed = LuckyEmbedder()  # some pictures are right, as many as guessing gets
    found = corruptions(asked(classes(tmp_path), guessed), SOME)
    assert 0 < found.figure("right") < 0.5 and "retention" not in found.names
    found = queries(asked(captioned, guessed), QueriesConfig())
    assert found.chance["clean_hit@1"] == pytest.approx(1 / len(COLOURS)) and "typo_retention" not in found.names


def test_captions_serve_where_there_are_no_classes(captioned):
    outcome = corruptions(asked(captioned, ColourEmbedder()), SOME)
    assert 0.3 < outcome.figure("right") < 1.0 and outcome.chance["right"] == pytest.approx(1 / len(COLOURS))


def test_without_either_cosines_are_left(tmp_path):
    for colour in COLOURS:
        for path in (classes(tmp_path / "in") / colour).iterdir():
            path.rename(tmp_path / f"{colour}-{path.name}")
    outcome = corruptions(asked(tmp_path, ColourEmbedder()), SOME)
    assert set(outcome.names) == {"cosine", "overlap@3"}


def test_the_same_seed_gives_the_same_damage(tmp_path):
    one = asked(classes(tmp_path), ColourEmbedder())
    np.testing.assert_array_equal(corruptions(one, SOME).values["cosine"], corruptions(one, SOME).values["cosine"])


def test_misspelled_queries_find_less(captioned):
    outcome = queries(asked(captioned, ColourEmbedder()), QueriesConfig(edits=3))
    assert outcome.figure("clean_hit@1") == 1.0 > outcome.figure("typo_hit@1")
    assert outcome.figure("typo_retention") == pytest.approx(outcome.figure("typo_hit@1"))
    assert all(typo != id_ for typo, id_ in zip(outcome.details["typo"], outcome.ids, strict=True))
    assert "paraphrase_hit@1" not in outcome.names  # nobody said that it is English


def test_mistakes_are_told(tmp_path):
    one = asked(classes(tmp_path), ColourEmbedder())
    with pytest.raises(ValueError, match="has no captions in 'fr'; it has none"):
        queries(one, QueriesConfig(language="fr"))
    with pytest.raises(ValueError, match="no corruption 'rain'"):
        CorruptionsConfig(corruptions=("rain",))
    with pytest.raises(ValueError, match="severities go from 1 to 5"):
        CorruptionsConfig(severities=(0,))
    with pytest.raises(ValueError, match="pictures are at least 2"):
        CorruptionsConfig(side=8)
