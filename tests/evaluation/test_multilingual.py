"""Zero-shot in several languages: each language's figure is that of zero_shot in it, and the rest is their mean."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import constant, dataset, embedded, knowing

from diptych.evaluation import zero_shot as zero_shot_module
from diptych.evaluation.intervals import figures_of
from diptych.evaluation.metrics import classification
from diptych.evaluation.multilingual import MultilingualConfig, zero_shot_languages
from diptych.evaluation.templates import in_language
from diptych.evaluation.zero_shot import ZeroShotConfig, by_template, zero_shot

CLASSES = [f"c{number}" for number in range(8)]
LABELS = CLASSES * 6
NAMES = {"de": {name: f"{name} auf Deutsch" for name in CLASSES},
         "fr": {name: f"{name} en français" for name in CLASSES}, "sv": {"c0": "c0 på svenska"}}
VECTORS = knowing(LABELS, noise=0.1)
CENTRES = {name: VECTORS[[i for i, label in enumerate(LABELS) if label == name]].mean(axis=0) for name in CLASSES}


def world(names=NAMES):
    """In German the names are understood, half of the French ones are each other's, and of Swedish one is there."""
    fr = dict(zip(CLASSES, [*CLASSES[:4], *CLASSES[5:], CLASSES[4]], strict=True))
    texts = {f"Foto: {own}": CENTRES[name] for name, own in NAMES["de"].items()}
    texts |= {f"Bild: {own}": CENTRES[name] for name, own in NAMES["de"].items()}
    texts |= {f"{what} : {own}": CENTRES[fr[name]] for what in ("photo", "image") for name, own in NAMES["fr"].items()}
    texts |= {own: CENTRES[name] for name, own in NAMES["de"].items()}
    return embedded(replace(dataset(LABELS), names=names), VECTORS, texts)


def test_scores_in_blocks_are_all_of_them(monkeypatch):
    """None in memory is larger than it may be, in either task."""
    one, (languages, config) = world(), (MultilingualConfig(), ZeroShotConfig(templates=("a {}", "{}")))
    run = [lambda: zero_shot_languages(one, languages).values, lambda: zero_shot(one, config).values,
           lambda: by_template(one, config)]
    whole, seen = [task() for task in run], []
    exact = classification.accuracy_at_k
    monkeypatch.setattr(classification, "accuracy_at_k", lambda scores, *of: seen.append(scores.size) or exact(
        scores, *of))
    monkeypatch.setattr(zero_shot_module, "_AT_ONCE", 5 * len(CLASSES))
    for before, task in zip(whole, run, strict=True):
        np.testing.assert_equal(task(), before)
        assert seen and max(seen) == 5 * len(CLASSES) and min(seen) == len(LABELS) % 5 * len(CLASSES)
        seen.clear()


def test_every_language_is_its_zero_shot_and_the_mean_is_of_languages():
    one = world()
    found = zero_shot_languages(one, MultilingualConfig())
    by_slice = {(f.name, f.slice): f for f in figures_of(found, "m", slices=True, draws=200)}
    for language in ("de", "fr"):
        alone = zero_shot(one, ZeroShotConfig(language=language))
        for name in ("acc@1", "acc@5"):
            assert by_slice[name, f"language={language}"].value == alone.figure(name)
        assert ("mean_acc@1", f"language={language}") not in by_slice
    own = zero_shot(one, ZeroShotConfig(templates=in_language("en")))  # as many templates as the others, in English
    assert by_slice["acc@1", "language=own"].value == own.figure("acc@1")
    figures = [by_slice["acc@1", f"language={language}"].value for language in ("de", "fr", "own")]
    assert figures[:2] == [1.0, 0.5] and "language=sv" not in {part for _, part in by_slice}
    assert by_slice["mean_acc@1", ""].value == pytest.approx(np.mean(figures))
    assert by_slice["worst_language_acc@1", ""].value == min(figures)
    assert by_slice["mean_acc@1", ""].low < by_slice["mean_acc@1", ""].value < by_slice["mean_acc@1", ""].high


def test_pictures_are_drawn_with_all_their_languages():
    found = zero_shot_languages(world(), MultilingualConfig(languages=("de", "fr")))
    assert len(set(found.groups)) == len(LABELS) and len(found.ids) == 2 * len(LABELS)


def test_of_many_classes_the_names_stand_alone():
    found = zero_shot_languages(world(), MultilingualConfig(languages=("de",), most_classes=7))
    assert found.figure("acc@1") == 1.0
    # in French the bare names are not among the texts: vectors of their own
    bare = zero_shot_languages(world(), MultilingualConfig(languages=("fr",), most_classes=7))
    assert bare.figure("acc@1") != zero_shot_languages(world(), MultilingualConfig(languages=("fr",))).figure("acc@1")


def test_names_can_be_of_a_column():
    things = ["x", "y", "", "x"] * 12
    names = {"de": {"x": "X", "y": "Y"}, "fr": {"x": "ixe", "y": "igrec"}}
    data = replace(dataset(LABELS, {"thing": things}), names=names, roles={"named": "thing"})
    found = zero_shot_languages(embedded(data, VECTORS), MultilingualConfig())
    assert set(found.slices["language"]) == {"de", "fr"} and found.chance["acc@1"] == 1 / 2
    assert len(found.ids) == 2 * 36 and set(found.details["expected"]) == {"x", "y"}


def test_a_constant_embedder_is_right_about_nothing():
    same = embedded(replace(dataset(LABELS), names=NAMES), constant(len(LABELS)))
    same = replace(same, texts=lambda wanted: np.tile(same.images[0], (len(wanted), 1)))
    found = zero_shot_languages(same, MultilingualConfig())
    assert [found.figure(name) for name in found.names] == [0.0] * 4


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="has no class names in 'tlh'; it has de, fr, sv"):
        zero_shot_languages(world(), MultilingualConfig(languages=("tlh",)))
    with pytest.raises(ValueError, match="7 classes of made up have no name in 'sv', such as 'c1'"):
        zero_shot_languages(world(), MultilingualConfig(languages=("sv",)))
    with pytest.raises(ValueError, match=r"names all 8 classes \(some in sv\); give columns such as label_de"):
        zero_shot_languages(world(names={"sv": NAMES["sv"]}), MultilingualConfig())
