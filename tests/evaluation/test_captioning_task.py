"""What models say of pictures: the figures are the libraries', a parrot scores nothing, who cannot speak is told."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from sacrebleu.metrics import BLEU
from worlds import dataset, embedded

from diptych.core.errors import DiptychError
from diptych.evaluation import captioning as module
from diptych.evaluation.captioning import CaptioningConfig, captioning, synonyms, words
from diptych.evaluation.dataset import Caption
from diptych.evaluation.embedded import Looks
from diptych.evaluation.intervals import figures_of
from diptych.evaluation.significance import difference
from diptych.evaluation.views import captions as shown

THINGS = ("cat", "dog", "boat", "tree", "house", "heart")
PLACES = ("on the green grass", "under a blue sky", "in an old town", "near the wide sea", "at night")
TRUTH = [(f"a {thing} {place}", f"one small {thing} seen {place}") for thing in THINGS for place in PLACES]
CONFIG = CaptioningConfig()


LEXNAMES = """adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body
    noun.cognition noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object
    noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape
    noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication verb.competition
    verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social
    verb.stative verb.weather adj.ppl"""  # WordNet's own order, in a file that Debian leaves out
WORDNET = Path("/usr/share/wordnet")


@pytest.fixture(autouse=True)
def no_synonyms(monkeypatch):
    """Whoever runs the tests may have WordNet."""
    monkeypatch.setattr(module, "synonyms", lambda: None)


@pytest.fixture
def wordnet(tmp_path, monkeypatch):
    """Debian's WordNet as NLTK reads it."""
    if not (WORDNET / "index.sense").exists():
        pytest.skip("no WordNet: apt-get install wordnet-base wordnet-sense-index")
    folder = tmp_path / "corpora" / "wordnet"
    shutil.copytree(WORDNET, folder)
    names = "".join(f"{number}\t{name}\t0\n" for number, name in enumerate(LEXNAMES.split()))
    (folder / "lexnames").write_text(names)
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])  # where NLTK may read
    with warnings.catch_warnings(action="ignore"):  # that it knows English alone
        return WordNetCorpusReader(str(folder), None)


def world(truth=TRUTH, language="en", more=(), **changes):
    said = [Caption(text=text, language=language, pictures=(number,)) for number, own in enumerate(truth)
            for text in own]
    return replace(dataset([""] * len(truth), captions=[*said, *more]), **changes)


def model(say, data=None):
    """One that says `say(number)` of each picture."""
    data = data or world()
    made = embedded(data, np.eye(len(data)))
    return replace(made, decode=lambda number: number, looks=Looks(describe=lambda some: [say(i) for i in some]))


def test_who_says_the_truth_is_best_and_the_figures_are_the_librarys():
    found = captioning(model(lambda i: TRUTH[i][0].upper() + "!"), CONFIG)
    assert found.figure("rouge_l") == found.figure("bleu@4") == 1 and found.figure("cider") > 5
    assert found.details["nearest"] == [own[0] for own in TRUTH] and found.details["references"][3] == list(TRUTH[3])
    half = [own[0] if i % 2 else "a thing on the green grass of today" for i, own in enumerate(TRUTH)]
    found = captioning(model(half.__getitem__), CONFIG)
    library = BLEU(tokenize="none", smooth_method="none").corpus_score(half, list(zip(*TRUTH, strict=True)))
    assert found.figure("bleu@4") == pytest.approx(library.score / 100, rel=1e-12) and 0 < library.score < 100
    weights = np.array([0.0, 2.0] * 15)
    assert found.figure("bleu@4", weights) == pytest.approx(1)  # of what was drawn alone
    assert np.isnan(found.figure("bleu@4", 0 * weights))
    parts = np.random.default_rng(0).exponential(size=30)  # a draw weighs captions by parts
    assert found.figure("bleu@4", parts / 100) == pytest.approx(found.figure("bleu@4", parts), rel=1e-3)


@pytest.mark.slow
def test_meteor_knows_synonyms(monkeypatch, wordnet):
    monkeypatch.setattr(module, "synonyms", lambda: wordnet)
    said, true = "It is a guide to action which ensures that the military always obeys the commands of the party", (
        "It is a guide to action that ensures that the military will forever heed Party commands")
    truth = [(true,), ("a red sofa",), ("one dog asleep",)]
    found = captioning(model([said, "a red couch", "nothing alike"].__getitem__, world(truth)), CONFIG)
    assert found.values["meteor"][0] == pytest.approx(0.6944, abs=5e-5)  # NLTK's own documentation
    assert found.values["meteor"][1] == pytest.approx(1 - 0.5 / 27)  # all found, in one piece of three words
    assert found.values["meteor"][2] == 0 and list(found.chance) == ["cider", "rouge_l", "meteor", "bleu@4"]
    german = captioning(model(str, world(truth, language="de")), CONFIG)
    assert "meteor" not in german.names


def test_synonyms_are_there_or_they_are_not(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("nltk.data.path", [])
    assert synonyms() is None


def test_a_parrot_scores_nothing_and_is_told_from_who_knows():
    parrot, knows = (captioning(model(say), CONFIG) for say in (lambda _: "a photo of a thing", lambda i: TRUTH[i][1]))
    assert parrot.figure("cider") < 0.05 and parrot.figure("bleu@4") == 0
    told = difference(knows, parrot, "cider", models=("knows", "parrot"), draws=200)
    assert told.verdict == "better" and told.p < 0.001
    figures = {figure.name: figure for figure in figures_of(knows, "knows", draws=200)}
    assert list(figures) == ["cider", "rouge_l", "bleu@4"]  # a report shows the first
    assert figures["bleu@4"].low <= figures["bleu@4"].value <= figures["bleu@4"].high
    for name, figure in figures.items():  # what another picture's caption reaches
        assert 0 < figure.chance < figure.value, name


def test_silence_is_worth_nothing():
    found = captioning(model(lambda _: ""), CONFIG)
    assert [found.figure(name) for name in found.names] == [0, 0, 0]


def test_pictures_are_drawn_by_seed_and_are_those_of_the_test_part():
    truth = [own[0] for own in TRUTH]
    one, same, other = (captioning(model(truth.__getitem__), CaptioningConfig(pictures=7, seed=seed)).ids
                        for seed in (0, 0, 1))
    assert one == same != other and len(one) == 7
    split = world(columns={"split": ("train", "test") * 15})
    assert captioning(model(truth.__getitem__, split), CONFIG).ids == [f"p{i}" for i in range(1, 30, 2)]


def test_captions_are_of_one_language():
    german = [Caption(text="ein Boot", language="de", pictures=(4,)), Caption(text="...", language="en", pictures=(2,))]
    data = world(more=german)
    assert captioning(model(str, data), CaptioningConfig()).details["references"] == [list(own) for own in TRUTH]
    with pytest.raises(ValueError, match=r"1 pictures with a caption in 'de'; its captions are in 'de', 'en' \(capt"):
        captioning(model(str, data), CaptioningConfig(language="de"))
    for language in ("", "de"):  # nobody says which; there are no English ones
        assert len(captioning(model(str, world(language=language)), CONFIG).ids) == len(TRUTH)
    with pytest.raises(ValueError, match="has no captions"):
        captioning(model(str, world(captions=())), CONFIG)


def test_a_model_without_a_decoder_is_told_so_and_so_is_a_missing_package(monkeypatch):
    with pytest.raises(ValueError, match="the model has no decoder that writes captions"):
        captioning(embedded(world(), np.eye(len(TRUTH))), CONFIG)
    module.require()
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(DiptychError, match=r"pip install 'diptych\[evaluate\]'"):
        module.require()


def test_words_of_any_script():
    assert words("A man's T-shirt, 2 DOGS!") == ["a", "man", "s", "t", "shirt", "2", "dogs"]
    assert words("赤いりんご。") == list("赤いりんご") and words("लाल सेब") == ["लाल", "सेब"] and words("…!") == []


def test_the_report_shows_where_models_differ_and_what_all_describe_worst():
    good, bad = (captioning(model(say), CONFIG) for say in (
        lambda i: "nothing" if i == 9 else TRUTH[i][0], lambda i: TRUTH[i][0] if i == 5 else "nothing"))
    found = shown({"good": good, "bad": bad})
    assert len(found) == 24 == len({one.id for one in found})
    assert found[0].cider["good"] > found[0].cider["bad"] == 0 and found[0].said["bad"] == "nothing"
    assert "p9" in {one.id for one in found} and found[0].references == TRUTH[int(found[0].id[1:])]
    assert [one.cider["bad"] for one in shown({"bad": bad})[:8]] == [0] * 8  # alone: the worst come first
