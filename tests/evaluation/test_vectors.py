"""Vectors of a data set are made once, go on after a kill, and leave out what cannot be decoded."""

from dataclasses import replace

import numpy as np
import pytest

from coloured import classes, drawn, encoded
from diptych.core.errors import PictureError
from diptych.evaluation import vectors
from diptych.evaluation.dataset import subset
from diptych.evaluation.sets import open_dataset
from diptych.evaluation.vectors import NotFiniteVectors, embed_dataset, embedded, without
from fakes import COLOURS, CountingEmbedder


@pytest.fixture
def data(tmp_path):
    return open_dataset(classes(tmp_path / "pictures"))


def test_pictures_are_embedded_once(data):
    first, again, other = CountingEmbedder(), CountingEmbedder(), CountingEmbedder("other")
    found = embed_dataset(first, data, "fp32 torch")
    assert found.vectors.shape == (len(data), 4) and first.pictures == len(data) and not found.broken
    np.testing.assert_array_equal(embed_dataset(again, data, "fp32 torch").vectors, found.vectors)
    assert again.pictures == 0
    embed_dataset(other, data, "fp32 torch")
    embed_dataset(again, data, "int8 torch")
    assert other.pictures == again.pictures == len(data)  # another model, another precision


def test_a_changed_picture_alone_is_embedded_anew(data, tmp_path):
    before = embed_dataset(CountingEmbedder(), data, "x").vectors
    (tmp_path / "pictures" / "red" / "0.png").write_bytes(encoded(drawn((9, 9, 9), "tall")))
    changed = open_dataset(tmp_path / "pictures")
    embedder = CountingEmbedder()
    after = embed_dataset(embedder, changed, "x").vectors
    assert embedder.pictures == 1
    assert [changed.ids[i] for i in np.flatnonzero((before != after).any(axis=1))] == ["red/0.png"]


def test_other_captions_embed_no_picture(data):
    embed_dataset(CountingEmbedder(), data, "x")
    embedder = CountingEmbedder()
    reordered = subset(replace(data, sha256="of other captions"), range(len(data))[::-1])
    found = embed_dataset(embedder, reordered, "x").vectors
    assert embedder.pictures == 0
    np.testing.assert_array_equal(found, embed_dataset(embedder, data, "x").vectors[::-1])


def test_a_kill_loses_one_block(data, monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK", 6)
    whole = embed_dataset(CountingEmbedder(), data, "x").vectors
    killed, calls = CountingEmbedder("other"), []
    real = killed.embed_images

    def dies(pictures):
        calls.append(len(pictures))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(pictures)

    killed.embed_images = dies
    with pytest.raises(KeyboardInterrupt):
        embed_dataset(killed, data, "x")
    again = CountingEmbedder("other")
    np.testing.assert_array_equal(embed_dataset(again, data, "x").vectors, whole)
    assert again.pictures == len(data) - 12


def test_broken_pictures_are_left_out_and_listed(tmp_path):
    folder = classes(tmp_path / "pictures")
    (folder / "green" / "2.png").write_bytes((folder / "green" / "2.png").read_bytes()[:40])
    (folder / "red" / "text.png").write_bytes(b"no picture at all")
    whole = open_dataset(folder)
    found = embed_dataset(CountingEmbedder(), whole, "x")
    data, kept = without(whole, found.broken)
    assert len(data) == len(whole) - 2 == len(kept) and {i for i, _ in data.skipped} == {"green/2.png", "red/text.png"}
    assert np.isfinite(found.vectors[kept]).all() and set(data.labels) == set(COLOURS)
    for number in range(len(data)):
        assert data.read(number) == (folder / data.ids[number]).read_bytes()
    assert "object at" not in found.broken[17]
    (folder / "green" / "2.png").write_bytes(encoded(drawn((9, 9, 9), "tall")))
    repaired, again = open_dataset(folder), CountingEmbedder()
    assert set(embed_dataset(again, repaired, "x").broken.values()) <= set(found.broken.values())
    assert again.pictures == 1


def test_what_could_not_be_read_is_tried_again(data):
    def out_of_reach(_):
        raise PictureError("timed out")

    away = replace(data, read=out_of_reach)
    assert len(embed_dataset(CountingEmbedder(), away, "x").broken) == len(data)
    embedder = CountingEmbedder()
    assert not embed_dataset(embedder, data, "x").broken and embedder.pictures == len(data)


def test_a_class_without_a_picture_can_still_be_answered(data):
    few = replace(subset(data, range(6)), classes=data.classes)
    assert without(few, {})[0].classes == without(few, {0: "broken"})[0].classes == data.classes


def test_nothing_left_is_told(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    data = open_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"no picture of .* can be decoded"):
        without(data, embed_dataset(CountingEmbedder(), data, "x").broken)


def test_vectors_that_are_not_finite_are_refused_and_not_kept(data):
    broken = CountingEmbedder()
    broken.embed_images = lambda pictures: np.full((len(pictures), 4), np.nan, np.float32)
    with pytest.raises(NotFiniteVectors, match="40 of 40 vectors that are not finite"):
        embed_dataset(broken, data, "x")
    assert np.isfinite(embed_dataset(CountingEmbedder(), data, "x").vectors).all()


def test_pictures_that_are_made_are_embedded_once_by_their_pixels(data):
    embedder, nothing = CountingEmbedder(), np.zeros((len(data), 4), np.float32)
    asked = embedded(embedder, data, nothing, "x")
    red, blue = drawn((255, 0, 0), "square"), drawn((0, 0, 255), "square")
    both = asked.pictures([red, blue, red])
    np.testing.assert_array_equal(both, embedder.embed_images([red, blue, red]))
    assert embedder.pictures == 2 + 3
    again = embedded(embedder, data, nothing, "x")
    np.testing.assert_array_equal(again.pictures([blue.copy(), red]), both[[1, 0]])
    assert embedder.pictures == 5 and again.pictures([]).shape == (0, 4)
    again.pictures([red.resize((9, 7)), red.convert("L"), red])  # other sizes and modes are other pictures
    assert embedder.pictures == 7


def test_texts_are_embedded_once(data):
    embedder = CountingEmbedder()
    asked = embedded(embedder, data, np.zeros((len(data), 4), np.float32), "x")
    both = asked.texts(["red", "blue", "red"])
    np.testing.assert_array_equal(both[0], both[2])
    asked.texts(["blue", "red"])
    assert embedder.texts == 2 and asked.texts([]).shape == (0, 4)
    again = embedded(embedder, data, np.zeros((len(data), 4), np.float32), "x")
    np.testing.assert_array_equal(again.texts(["green", "blue", "lone \ud800"])[1], both[1])
    assert embedder.texts == 4  # the new ones
    assert asked.decode(0).mode == "RGB"
