"""Hard negatives and Winoground pairs, counted by hand and by chance."""

import numpy as np
import pytest
from worlds import constant, dataset, embedded

from diptych.evaluation.compositional import CompositionalConfig, hard_negatives, winoground
from diptych.evaluation.dataset import Caption

ALL = CompositionalConfig()
RIGHT, LEFT = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def test_a_true_caption_has_to_be_strictly_nearer():
    captions = [
        Caption(text="red on blue", pictures=(0, 1), language="en",
                negatives=(("swap", "blue on red"), ("colour", "green on blue"))),
        Caption(text="ein Kreis", pictures=(1,), language="de", negatives=(("shape", "kein Kreis"),))]
    texts = {"red on blue": RIGHT, "blue on red": LEFT, "green on blue": RIGHT, "ein Kreis": LEFT, "kein Kreis": RIGHT}
    made = dataset(["", ""], {"vendor": ["a", "b"]}, captions)
    found = hard_negatives(embedded(made, np.array([RIGHT, LEFT]), texts), ALL)
    rows = list(zip(found.details["picture"], found.details["negative"], found.values["true_over_negative"].tolist(),
                    strict=True))
    assert sorted(rows) == [("p0", "blue on red", 1), ("p0", "green on blue", 0),  # the same vector: a tie
                            ("p1", "blue on red", 0), ("p1", "green on blue", 0), ("p1", "kein Kreis", 1)]
    assert found.figure("true_over_negative") == pytest.approx(2 / 5)
    assert set(found.slices) == {"vendor", "kind", "language"} and set(found.groups) == {"0", "1"}
    german = hard_negatives(embedded(made, np.array([RIGHT, LEFT]), texts), CompositionalConfig(languages=("de",)))
    assert german.figure("true_over_negative") == 1 and not german.slices


def _mutual(count: int) -> list[Caption]:
    """Captions 2i and 2i + 1 of pictures 2i and 2i + 1, each the other's negative."""
    return [Caption(text=f"text {number}", pictures=(number,), negatives=(("swap", f"text {number ^ 1}"),))
            for number in range(count)]


@pytest.mark.parametrize(("images", "expected"), [
    ([RIGHT, LEFT], (1, 1, 1)), ([LEFT, RIGHT], (0, 0, 0)), ([RIGHT, RIGHT], (0, 0, 0)),
    # both pictures are nearer to the first text; each text is nearer to its own picture
    ([RIGHT, RIGHT + 0.5 * LEFT], (0, 1, 0)),
])
def test_winoground_by_hand(images, expected):
    made = dataset(["", ""], captions=_mutual(2))
    found = winoground(embedded(made, np.array(images), {"text 0": RIGHT, "text 1": LEFT}), ALL)
    assert tuple(found.figure(name) for name in ("text", "image", "group")) == expected
    assert found.details["texts"] == [["text 0", "text 1"]] and found.details["pictures"] == [["p0", "p1"]]


def test_text_and_image_are_not_swapped():
    # each picture is nearer to its text; the second text is nearer to the first picture
    texts = {"text 0": np.array([1.0, 0.0]), "text 1": np.array([0.6, 0.8])}
    made = dataset(["", ""], captions=_mutual(2))
    images = np.array([[0.85, 0.4], [0.0, 1.0]])
    found = winoground(embedded(made, images, texts), ALL)
    assert (found.figure("text"), found.figure("image")) == (1, 0)


def test_only_captions_that_deny_each_other_with_one_picture_each_are_pairs():
    def pair(first, second, back="a", **other):
        return [Caption(text="a", pictures=first, negatives=(("swap", "b"),)),
                Caption(text="b", pictures=second, negatives=(("swap", back),), **other)]

    vectors = np.eye(4)
    same = (0, 1, 1, 0)

    def count(captions):
        try:
            return len(winoground(embedded(dataset([""] * 4, captions=captions, same=same), vectors), ALL).ids)
        except ValueError as error:
            assert "each other's negatives" in str(error)
            return 0

    assert count(pair((0,), (1,))) == 1 and count(pair((0, 3), (1, 2))) == 1  # copies are one picture
    assert count(pair((0,), (1,), back="c")) == 0 and count(pair((0, 1), (1,))) == 0
    assert count(pair((0,), (3,))) == 0 and count(pair((0,), (1,), language="de")) == 0


def test_pairs_that_share_a_picture_are_drawn_together():
    captions = [Caption(text="a", pictures=(0,), negatives=(("", "b"), ("", "c"))),
                Caption(text="b", pictures=(1,), negatives=(("", "a"),)),
                Caption(text="c", pictures=(2,), negatives=(("", "a"),)),
                Caption(text="d", pictures=(3,), negatives=(("", "e"),)),
                Caption(text="e", pictures=(4,), negatives=(("", "d"),))]
    found = winoground(embedded(dataset([""] * 5, captions=captions), np.eye(5)), ALL)
    assert len(found.ids) == 3 and found.groups[0] == found.groups[1] != found.groups[2]


def test_a_constant_embedder_is_never_right():
    made = dataset([""] * 40, captions=_mutual(40))
    one = constant(1)[0]
    blind = embedded(made, constant(40), {f"text {number}": one for number in range(40)})
    assert hard_negatives(blind, ALL).figure("true_over_negative") == 0
    assert [winoground(blind, ALL).figure(name) for name in ("text", "image", "group")] == [0, 0, 0]
    # one vector for all pictures: a caption beats its negative where the negative is beaten by it
    half = embedded(made, constant(40))
    assert hard_negatives(half, ALL).figure("true_over_negative") == 0.5
    assert winoground(half, ALL).figure("text") == 0


def test_captions_of_other_pictures_score_chance():
    count = 2000
    vectors = np.random.default_rng(0).normal(size=(count, 64))
    made = dataset([""] * count, captions=_mutual(count))
    know = {f"text {number}": vector for number, vector in enumerate(vectors)}
    assert winoground(embedded(made, vectors, know), ALL).figure("group") == 1
    order = np.random.default_rng(1).permutation(count)
    shuffled = embedded(made, vectors, {f"text {number}": vectors[order[number]] for number in range(count)})
    for found in (hard_negatives(shuffled, ALL), winoground(shuffled, ALL)):
        for name, chance in found.chance.items():
            # four standard errors; a text's own vector, drawn by luck, moves it by less
            error = np.sqrt(chance * (1 - chance) / len(set(found.groups)))
            assert abs(found.figure(name) - chance) < 4 * error, name


def test_what_is_missing_is_said():
    plain = embedded(dataset([""], captions=[Caption(text="a", pictures=(0,), language="en")]), np.eye(1, 2))
    with pytest.raises(ValueError, match="no caption of made up has a hard negative"):
        hard_negatives(plain, ALL)
    with pytest.raises(ValueError, match="no two captions"):
        winoground(plain, ALL)
    with pytest.raises(ValueError, match="no captions in 'tlh'; it has 'en'"):
        hard_negatives(plain, CompositionalConfig(languages=("en", "tlh")))
