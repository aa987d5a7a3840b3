"""What no suite may get wrong: who knows nothing is at chance, whoever looks at shuffled truth is too, and bad data are
told in one sentence."""

import functools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom
from worlds import dataset, embedded, knowing

from diptych.core.errors import DiptychError
from diptych.evaluation import compositional, multi_label, probes, retrieval
from diptych.evaluation.compositional import CompositionalConfig
from diptych.evaluation.dataset import Caption
from diptych.evaluation.domains import DomainsConfig, domains
from diptych.evaluation.intervals import figures_of
from diptych.evaluation.matching import MatchingConfig, matching
from diptych.evaluation.multilingual import MultilingualConfig, zero_shot_languages
from diptych.evaluation.probes import FewShotConfig, LinearProbeConfig, NeighboursConfig
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.robustness import CorruptionsConfig
from diptych.evaluation.sets import Columns, open_dataset
from diptych.evaluation.suite import Entrant, evaluate
from diptych.evaluation.zero_shot import ZeroShotConfig, zero_shot
from diptych.recipes.suites import quick, standard
from fakes import COLOURS, ColourEmbedder, ConstantEmbedder

NAMES = list(COLOURS)
GERMAN = dict(zip(NAMES, ["rot", "grün", "blau", "gelb", "türkis", "rosa", "weiß", "schwarz"], strict=True))
OTHER = {name: other for a, b in zip(NAMES[::2], NAMES[1::2], strict=True) for name, other in ((a, b), (b, a))}
EACH = 18


def entrant(kind, **more):
    return Entrant(embedder=kind(**more), open_model=functools.partial(kind, **more), runtime="numpy fp32",
                   weights_bytes=1000)


def table(folder, columns, rows):
    """Coloured pictures and a CSV of them; a row is what `columns` say of a colour and a number."""
    lines = [",".join(("image", *columns))]
    for number, colour in [(number, colour) for number in range(rows // len(NAMES)) for colour in NAMES]:
        path = folder / f"{colour}{number}.png"
        noise = np.random.default_rng(number).normal(0, 20, (16, 16, 3))
        folder.mkdir(exist_ok=True)
        Image.fromarray((noise + COLOURS[colour]).clip(0, 255).astype(np.uint8)).save(path)
        lines.append(",".join((path.name, *(say(colour, number) for say in columns.values()))))
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"


EVERYTHING = {
    "label": lambda colour, _: colour, "label_de": lambda colour, _: GERMAN[colour],
    "caption_en": lambda colour, number: f"{colour} thing number {number}",
    "negative_colour": lambda colour, number: f"{OTHER[colour]} thing number {number}",
    "domain": lambda _, number: ("photo", "sketch", "toy")[number % 3],
    "gender": lambda _, number: ("man", "woman", "man", "woman", "")[number % 5],
    "family": lambda colour, _: ("judge", "singer")[NAMES.index(colour) % 2]}


@pytest.mark.slow
def test_who_knows_nothing_is_at_chance_in_the_whole_standard_suite(tmp_path):
    suite = replace(standard(), efficiency=None, draws=100, corruptions=CorruptionsConfig(
        pictures=8, corruptions=("fog",), severities=(1,), neighbours=2))
    data = open_dataset(table(tmp_path / "all", EVERYTHING, EACH * len(NAMES)))
    found = evaluate(suite, [entrant(ConstantEmbedder)], data)
    left_out = {"captioning", "segmentation", "depth", "grounding"}  # it has no decoder, the data have no maps
    assert set(found.comparison.provenance.left_out) == left_out
    assert set(found.outcomes) >= {
        "text_to_image", "image_to_text", "zero_shot", "zero_shot_languages", "hard_negatives", "winoground",
        "matching", "nearest_neighbours", "linear_probe", "domains", "queries", "corruptions", "association of gender"}
    told = [figure for figure in found.comparison.figures if figure.chance is not None]
    assert len(told) > 40
    for figure in told:
        if figure.task.startswith("skew"):  # of pictures drawn by lot, which may be less skewed than most draws
            continue
        worse = figure.value - figure.chance if figure.better == "higher" else figure.chance - figure.value
        assert worse <= 1e-9, figure


LABELS = NAMES * 24
"""Each class in each of two domains alike."""
SHUFFLES = 8


def shuffled(seed):
    """A model that knows every colour and text, whose pictures have changed places."""
    vectors = knowing(LABELS, noise=0.3)
    centres = {name: vectors[[i for i, label in enumerate(LABELS) if label == name]].mean(axis=0) for name in NAMES}
    captions = [Caption(text=f"{label} {i}", language=("de", "en")[i // 8 % 2], pictures=(i,),
                        negatives=(("colour", f"{OTHER[label]} {i}"),)) for i, label in enumerate(LABELS)]
    data = replace(
        dataset(LABELS, {"domain": [("photo", "sketch")[i // 8 % 2] for i in range(len(LABELS))]}, captions),
        names={"de": GERMAN, "": dict(zip(NAMES, NAMES, strict=True))}, templates=("{}",))
    texts = {text: centres[name] for name in NAMES for text in (name, *(
        f"{what}: {GERMAN[name]}" for what in ("Foto", "Bild")))}
    texts |= {f"{name} {i}": vectors[i] + centres[name] - centres[label] for i, label in enumerate(LABELS)
              for name in NAMES}
    order = np.random.default_rng(seed).permutation(len(LABELS)) if seed is not None else np.arange(len(LABELS))
    return embedded(data, vectors[order], texts)


def every_task(one):
    several = replace(one.data, tags=tuple((label, OTHER[label]) if i % 3 else (label,)
                                           for i, label in enumerate(one.data.labels)))
    return [
        *retrieval.retrieval(one, RetrievalConfig()), zero_shot(one, ZeroShotConfig()),
        zero_shot_languages(one, MultilingualConfig()), matching(one, MatchingConfig()),
        multi_label.multi_label(replace(one, data=several), ZeroShotConfig()),
        compositional.hard_negatives(one, CompositionalConfig()),
        probes.nearest_neighbours(one, NeighboursConfig()),
        probes.linear_probe(one, LinearProbeConfig(iterations=30)),
        probes.few_shot(one, FewShotConfig(shots=(4,), supports=2, iterations=30)),
        domains(one, DomainsConfig(iterations=30))]
    # Winoground's chance is of scores drawn at random; a model's scores hang together, and shuffled ones reach less


@pytest.mark.slow
def test_shuffled_truth_is_chance_within_the_interval():
    """An interval misses chance one time in twenty; of eight shuffles none may be missed oftener than that allows."""
    missed, known = Counter(), set()
    for figure in [f for outcome in every_task(shuffled(None)) for f in figures_of(outcome, "m", draws=200)]:
        if figure.chance is not None and not figure.name.startswith(("fpr", "worst")):
            assert figure.value > figure.chance + 0.05, figure  # it does know, where nothing is shuffled
            known.add((figure.task, figure.name))
    assert len({task for task, _ in known}) == 11
    for seed in range(SHUFFLES):
        for outcome in every_task(shuffled(seed)):
            for figure in figures_of(outcome, "m", draws=200):
                if (figure.task, figure.name) in known:
                    missed[figure.task, figure.name] += not figure.low <= figure.chance <= figure.high
    # so that all figures together are wrongly refused one time in a hundred
    most = binom.isf(0.01 / len(known), SHUFFLES, 0.05)
    assert not {name: count for name, count in missed.items() if count > most}


class NotANumber(ColourEmbedder):
    """Its pictures are NaN."""

    def embed_images(self, pictures):
        return super().embed_images(pictures) * np.nan


def said(path, columns=None, languages=None, kind=ColourEmbedder):
    suite = replace(quick(), efficiency=None, draws=100)
    if languages:
        suite = replace(suite, retrieval=RetrievalConfig(languages=languages))
    with pytest.raises((ValueError, DiptychError)) as raised:
        evaluate(suite, [entrant(kind)], open_dataset(path, columns))
    return str(raised.value)


CAPTION, LABEL = EVERYTHING["caption_en"], EVERYTHING["label"]
NOTHING = "because it has no captions and"


@pytest.mark.parametrize(("columns", "how", "says"), [
    ({"caption": CAPTION}, {"kind": NotANumber}, "8 of 8 vectors that are not finite; its weights or its precision"),
    ({"caption": lambda *_: ""}, {}, f"{NOTHING} no classes: give a column 'caption' or 'label' with values"),
    ({"label": lambda *_: "cat"}, {}, f"{NOTHING} only the class 'cat': give a column 'caption'"),
    ({"id": lambda *_: "7", "caption": CAPTION}, {}, "have the id '7'; give each row an id of its own"),
    ({"caption_en": CAPTION}, {"languages": ("en", "xx")}, "has no captions in 'xx'; it has 'en'"),
    ({"caption": CAPTION}, {"languages": ("xx",)}, "name no language, so that none can be asked for; give a column"),
    ({"caption": CAPTION, "kind": LABEL}, {"columns": Columns(label="sort")}, "no column 'sort' with values for the "
     "label; there are caption, kind"),
])
def test_bad_data_are_told_in_one_sentence_that_says_what_to_do(tmp_path, columns, how, says):
    told = said(table(tmp_path / "some", columns, len(NAMES)), **how)
    assert says in told and "\n" not in told and len(told) < 400
