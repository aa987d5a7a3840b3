"""COCO, Flickr30k, Crossmodal-3600, Winoground and SugarCrepe: captions, languages, false captions, and the figures."""

import json

import numpy as np
import pytest
from layouts import (
    coco_annotations,
    karpathy,
    opened,
    put,
    sugarcrepe,
    winoground,
    write,
    xm3600,
)
from worlds import embedded

from diptych.core.errors import SourceError
from diptych.evaluation import compositional, retrieval, robustness
from diptych.evaluation.compositional import CompositionalConfig
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.robustness import QueriesConfig

TEST = tuple(f"test{number}.jpg" for number in range(3))


def said(data, language="en"):
    return {data.ids[picture]: [c.text for c in data.captions if picture in c.pictures and c.language == language]
            for picture in range(len(data))}


@pytest.mark.parametrize("place", ["val2014", "images/val2014", "images"])
def test_coco_in_karpathys_test_part(tmp_path, place):
    karpathy(tmp_path, "dataset_coco.json", "val2014")
    data = opened("coco", put(tmp_path, *(f"{place}/{name}" for name in TEST)))
    assert data.name == "mscoco_captions" and data.ids == tuple(f"{place}/{name}" for name in TEST)
    assert len(data.captions) == 15 and said(data)[f"{place}/test1.jpg"][4] == "test 1, said 4"
    assert data.languages == ("en",) and not data.classes


def test_coco_in_other_forms(tmp_path):
    put(tmp_path, *(f"val2017/{number}.jpg" for number in range(3)), *(f"val2014/{number}.jpg" for number in range(3)))
    coco_annotations(tmp_path, "annotations/captions_val2017.json", "")
    data = opened("mscoco_captions", tmp_path)
    assert data.name == "mscoco_captions (captions_val2017)" and said(data) == {
        f"val2017/{number}.jpg": [f"said {number}", f"said {number + 3}"] for number in range(3)}
    coco_annotations(tmp_path, "coco_test_karpathy.json", "")
    data = opened("mscoco_captions", tmp_path)
    assert data.name == "mscoco_captions" and data.ids[0] == "val2014/0.jpg"
    write(tmp_path, "coco_karpathy_test.json", [{"image": "val2014/2.jpg", "caption": ["a", "b"]}])
    assert said(opened("mscoco_captions", tmp_path)) == {"val2014/2.jpg": ["a", "b"]}


def test_flickr30k_in_its_forms(tmp_path):
    put(tmp_path, *(f"flickr30k-images/{name}" for name in TEST), "flickr30k-images/train0.jpg")
    lines = [f"{name}#{at}\tA {name[:5]} , said {at} ." for name in (*TEST, "train0.jpg") for at in range(2)]
    write(tmp_path, "results_20130124.token", "\n".join(lines) + "\n")
    with pytest.raises(SourceError, match=r"does not say which pictures are the test part; put Karpathy's dataset_fli"):
        opened("flickr30k", tmp_path)
    write(tmp_path, "test.txt", "test0\ntest1\ntest2\n")
    expected = {f"flickr30k-images/{name}": [f"A {name[:5]} , said {at} ." for at in range(2)] for name in TEST}
    assert said(opened("flickr30k", tmp_path)) == expected
    (tmp_path / "results_20130124.token").unlink()
    rows = [f"{name}| {at}| A {name[:5]} , said {at} ." for name in (*TEST, "train0.jpg") for at in range(2)]
    write(tmp_path, "results.csv", "image_name| comment_number| comment\n" + "\n".join(rows) + "\n")
    assert said(opened("flickr30k", tmp_path)) == expected
    write(tmp_path, "flickr30k_test_karpathy.txt", "image,caption\n" + "\n".join(
        f"{name},A {name[:5]} , said {at} ." for name in TEST for at in range(2)) + "\n")
    assert said(opened("flickr30k", tmp_path)) == expected
    karpathy(tmp_path, "dataset_flickr30k.json")
    assert len(opened("flickr30k", tmp_path).captions) == 15


@pytest.mark.parametrize("mark", ["\u2028", "\u0085"])
def test_only_a_line_end_ends_a_line(tmp_path, mark):
    put(tmp_path / "xm3600", *(f"images/{key}.jpg" for key in range(2)))
    rows = [{"image/key": str(key), "en": {"caption": [f"a{mark}thing {key}"]}} for key in range(2)]
    write(tmp_path / "xm3600", "captions.jsonl", "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert said(opened("xm3600", tmp_path)) == {f"images/{key}.jpg": [f"a{mark}thing {key}"] for key in range(2)}
    flickr = put(tmp_path / "flickr", *(f"images/{name}" for name in TEST))
    write(flickr, "test.txt", "test0\n\ntest1\ntest2\n")
    expected = {f"images/{name}": [f"a{mark}thing"] for name in TEST}
    for file, text in {
            "results.csv": "image_name| comment_number| comment\n" + "".join(f"{n}| 0| a{mark}thing\n" for n in TEST),
            "results_20130124.token": "".join(f"{n}#0\ta{mark}thing\n" for n in TEST),
            "flickr30k_test_karpathy.txt": "image,caption\n" + "".join(f"{n},a{mark}thing\n" for n in TEST)}.items():
        write(flickr, file, text)
        assert said(opened("flickr30k", flickr)) == expected


def test_a_missing_picture_is_skipped_and_listed(tmp_path):
    karpathy(tmp_path, "dataset_coco.json", "val2014")
    data = opened("coco", put(tmp_path, *(f"val2014/{name}" for name in TEST[:2])))
    assert len(data) == 2 and len(data.captions) == 10 and "test2.jpg" in data.skipped[0][1]
    for name in TEST[:2]:
        (tmp_path / "val2014" / name).unlink()
    with pytest.raises(SourceError, match="mscoco_captions has no picture that can be read"):
        opened("coco", tmp_path)


def test_xm3600_means_over_languages_both_ways(tmp_path):
    data = opened("xm3600", xm3600(tmp_path))
    assert data.languages == ("en", "fil", "qu") and len(data) == 3
    assert said(data)["images/0000000000000001.jpg"] == ["thing 1", "a thing 1"]
    assert data.columns["locale"] == ("en", "quz", "fil")
    images = np.eye(3)
    texts = {f"{word} {key}": images[key] for word in ("thing", "a thing", "bagay") for key in range(3)}
    texts |= {f"ima {key}": images[(key + 1) % 3] for key in range(3)}  # always wrong in Quechua
    to_image, to_text = retrieval.retrieval(embedded(data, images, texts), RetrievalConfig())
    # pooled captions would weigh English twice
    assert to_image.figure("mean_hit@1") == pytest.approx(2 / 3) and to_image.figure("hit@1") == pytest.approx(9 / 12)
    assert to_text.figure("mean_hit@1") == pytest.approx(2 / 3) and len(to_text.ids) == 9


@pytest.mark.parametrize("name", ["data/examples.jsonl", "examples.jsonl"])
def test_winoground(tmp_path, name):
    data = opened("winoground", winoground(tmp_path, name))
    assert len(data) == 6 and data.columns["tag"] == ("Object",) * 2 + ("Both",) * 2 + ("Relation",) * 2
    assert [c.pictures for c in data.captions] == [(number,) for number in range(6)]
    assert data.captions[1].negatives == (("object", "some plants surrounding a lightbulb"),)
    images = np.eye(6)
    texts = {caption.text: images[caption.pictures[0]] for caption in data.captions}
    texts["the dog sits on the bed"] = images[2] + images[4]
    outcome = compositional.winoground(embedded(data, images, texts), CompositionalConfig())
    # a caption that two examples have is one of each
    assert len(outcome.ids) == 3 and outcome.figure("group") == 1 and set(outcome.slices["tag"]) == {
        "Object", "Both", "Relation"}
    to_image, _ = retrieval.retrieval(embedded(data, images, texts), RetrievalConfig())
    # as a query it is one, true of both pictures
    assert len(to_image.ids) == 5 and to_image.figure("hit@1") == 1
    assert len(robustness.queries(embedded(data, images, texts), QueriesConfig()).ids) == 5


def test_half_an_example_is_left_out(tmp_path):
    winoground(tmp_path)
    (tmp_path / "data" / "images" / "ex_1_img_1.png").unlink()
    data = opened("winoground", tmp_path)
    assert len(data) == 5 and len(data.captions) == 4 and "ex_1_img_1" in data.skipped[0][1]
    assert data.captions[2].pictures == (data.ids.index("data/images/ex_2_img_0.png"),)


def test_sugarcrepe_has_seven_kinds_of_false_captions(tmp_path):
    data = opened("sugarcrepe", sugarcrepe(tmp_path))
    assert data.ids == ("000000000001.jpg", "000000000002.jpg") and len(data.captions) == 2
    assert data.captions[1].negatives[0] == ("add_att", "add_att: not two")
    images = np.eye(2)
    texts = {text: -images[caption.pictures[0]] for caption in data.captions for _, text in caption.negatives}
    outcome = compositional.hard_negatives(
        embedded(data, images, texts | {"a cat on a mat": images.sum(axis=0)}), CompositionalConfig())
    # equal captions of two pictures keep their own false ones: 14 samples, not 28
    assert len(outcome.ids) == 14 and len(set(outcome.slices["kind"])) == 7
    assert outcome.figure("true_over_negative") == 1


def test_sugarcrepes_pictures_may_lie_with_coco(tmp_path):
    sugarcrepe(tmp_path / "sugarcrepe")
    (tmp_path / "coco").mkdir()
    (tmp_path / "sugarcrepe" / "val2017").rename(tmp_path / "coco" / "val2017")
    assert len(opened("sugarcrepe", tmp_path / "sugarcrepe")) == 2


def test_what_is_missing_is_named(tmp_path):
    for name, message in {"coco": "has none of dataset_coco.json", "flickr30k": "has none of dataset_flickr30k.json",
                          "xm3600": r"has no captions\.jsonl", "winoground": r"has no examples\.jsonl",
                          "sugarcrepe": r"has no add_att\.json, .*, swap_obj\.json"}.items():
        with pytest.raises(SourceError, match=message):
            opened(name, tmp_path)
    write(tmp_path / "c", "dataset_coco.json", "{")
    with pytest.raises(SourceError, match="cannot be read as JSON"):
        opened("coco", tmp_path / "c")
    write(tmp_path / "c", "dataset_coco.json", {"pictures": []})
    with pytest.raises(SourceError, match=r"is not mscoco_captions as its authors publish it \(KeyError: 'images'\)"):
        opened("coco", tmp_path / "c")
    karpathy(tmp_path / "c", "dataset_coco.json", "val2014")
    with pytest.raises(SourceError, match="has no folder val2014, images/val2014"):
        opened("coco", tmp_path / "c")
    winoground(tmp_path / "j", "examples.jsonl").joinpath("examples.jsonl").write_bytes(b"\xff")
    with pytest.raises(SourceError, match=r"examples\.jsonl cannot be read: .*invalid start byte"):
        opened("winoground", tmp_path / "j")
    write(tmp_path / "j", "examples.jsonl", "{}\n{")
    with pytest.raises(SourceError, match=r"examples\.jsonl cannot be read as JSON Lines: "):
        opened("winoground", tmp_path / "j")
    write(tmp_path / "w", "examples.jsonl", json.dumps({}))
    write(tmp_path / "w", "images.zip", "")
    with pytest.raises(SourceError, match=r"has no folder images/; unpack .*images\.zip there"):
        opened("winoground", tmp_path / "w")
    sugarcrepe(tmp_path / "s")
    (tmp_path / "s" / "val2017").rename(tmp_path / "s" / "elsewhere")
    with pytest.raises(SourceError, match=r"has no folder val2017, .*; the pictures lie there"):
        opened("sugarcrepe", tmp_path / "s")
