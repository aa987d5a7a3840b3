"""Several classes of one picture: scikit-learn's mean average precision, its chance, and the columns it comes from."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from worlds import constant, dataset, embedded

from coloured import classes
from diptych.evaluation.dataset import subset
from diptych.evaluation.multi_label import multi_label
from diptych.evaluation.sets import open_dataset
from diptych.evaluation.zero_shot import ZeroShotConfig

CLASSES = ("boat", "sea", "sky")
RNG = np.random.default_rng(0)
RELEVANT = RNG.random((90, 3)) < 0.4
TAGS = tuple(tuple(name for name, there in zip(CLASSES, row, strict=True) if there) for row in RELEVANT)
VECTORS = np.eye(3)[:, [0, 1, 2]]
PLAIN = ZeroShotConfig(templates="plain")


def world(images, tags=TAGS):
    data = replace(dataset([""] * len(tags)), tags=tags, classes=CLASSES)
    return embedded(data, images, dict(zip(CLASSES, VECTORS, strict=True)))


def test_the_mean_is_scikit_learns():
    one = world(RELEVANT + RNG.normal(size=RELEVANT.shape))
    found, some = multi_label(one, PLAIN), RELEVANT.any(axis=1)
    scores = (one.images @ VECTORS.T)[some]
    assert len(found.ids) == some.sum() < 90
    assert found.figure("mean_average_precision") == pytest.approx(average_precision_score(RELEVANT[some], scores))
    best, partly = scores.argmax(axis=1), ~RELEVANT[some].all(axis=1)
    assert found.figure("acc@1") == np.mean(RELEVANT[some][np.arange(len(best)), best][partly])


def test_chance_is_the_mean_of_random_orders():
    guessed = [multi_label(world(np.random.default_rng(seed).normal(size=(90, 3))), PLAIN) for seed in range(200)]
    for name in ("mean_average_precision", "acc@1"):
        figures = [one.figure(name) for one in guessed]
        assert np.mean(figures) == pytest.approx(guessed[0].chance[name], abs=4 * np.std(figures) / 200**0.5)


def test_a_constant_embedder_ranks_nothing():
    found = multi_label(replace(one := world(constant(90, 3)), texts=lambda texts: one.images[: len(texts)]), PLAIN)
    assert found.figure("acc@1") == 0
    assert found.figure("mean_average_precision") == pytest.approx(RELEVANT[RELEVANT.any(axis=1)].mean(axis=0).mean())


@pytest.mark.parametrize("written", ['"[""red"", ""warm""]"', "red|warm"])
def test_a_column_holds_several(tmp_path, written):
    folder = classes(tmp_path / "pictures", each=1)
    (folder / "some.csv").write_text(f"image,labels\nred/0.png,{written}\nblue/0.png,cold\ncyan/0.png,\n")
    data = open_dataset(folder / "some.csv")
    assert data.tags == (("red", "warm"), ("cold",), ()) and data.labels == ("", "cold", "")
    assert data.classes == ("cold", "red", "warm")
    assert subset(data, [0]).tags == (("red", "warm"),) and subset(data, [0]).classes == ("red", "warm")


def test_one_class_each_is_another_task():
    with pytest.raises(ValueError, match="no picture of made up has several classes"):
        multi_label(embedded(dataset(["a", "b"]), constant(2)), PLAIN)
