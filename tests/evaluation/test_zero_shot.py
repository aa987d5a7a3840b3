"""Zero-shot classification: the formula, templates, ties, parts, names by language, and mistakes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import recall_score, top_k_accuracy_score

from coloured import classes
from diptych.evaluation.sets import open_dataset
from diptych.evaluation.vectors import embed_dataset, embedded
from diptych.evaluation.zero_shot import (
    ZeroShotConfig,
    by_template,
    class_vectors,
    described,
    names_of,
    prompts,
    zero_shot,
)
from fakes import COLOURS, ColourEmbedder, ConstantEmbedder


def asked(folder, embedder):
    data = open_dataset(folder)
    return embedded(embedder, data, embed_dataset(embedder, data, "x").vectors, "x")


@pytest.fixture
def colours(tmp_path):
    return asked(classes(tmp_path / "pictures"), ColourEmbedder())


class Random(ColourEmbedder):
    """Vectors that have nothing to do with what they are of."""

    def embed_images(self, pictures):
        return self.drawn(len(pictures), 0)

    def embed_texts(self, texts):
        return self.drawn(len(texts), 1)

    def drawn(self, count, seed):
        found = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_colours_are_told_apart(colours):
    outcome = zero_shot(colours, ZeroShotConfig(templates=("{}", "the colour {}")))
    assert outcome.figure("acc@1") == outcome.figure("mean_per_class_recall") == 1.0
    assert outcome.details["predicted"] == outcome.details["expected"] and outcome.chance["acc@1"] == 1 / len(COLOURS)


def test_the_figures_are_scikit_learns(tmp_path):
    one = asked(classes(tmp_path / "pictures"), Random())
    config = ZeroShotConfig(templates=("{}", "a {} thing"))
    outcome, number = zero_shot(one, config), {name: at for at, name in enumerate(one.data.classes)}
    scores = one.images @ class_vectors(one, prompts(one.data, config)).T
    truth = np.array([number[label] for label in one.data.labels])
    for k in (1, 5):
        expected = top_k_accuracy_score(truth, scores, k=k, labels=range(len(number)))
        assert outcome.figure(f"acc@{k}") == pytest.approx(expected)
    assert outcome.figure("mean_per_class_recall") == pytest.approx(
        recall_score(truth, scores.argmax(axis=1), average="macro"))
    logits = 10 * scores.astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outcome.details["said"], shares.max(axis=1), rtol=1e-5)  # scores are float32


def test_a_class_is_the_mean_of_its_templates(colours):
    config = ZeroShotConfig(templates=("{}", "a {} and red thing"))
    both = colours.texts(["blue", "a blue and red thing"])
    mean = both.mean(axis=0)
    found = class_vectors(colours, prompts(colours.data, config))[colours.data.classes.index("blue")]
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-6)


def test_a_constant_embedder_is_right_about_nothing(tmp_path):
    outcome = zero_shot(asked(classes(tmp_path / "pictures"), ConstantEmbedder()), ZeroShotConfig())
    assert outcome.figure("acc@1") == outcome.figure("acc@5") == 0.0


def test_each_template_alone(colours):
    templates = ("{}", "{} red black black", "nothing {}")
    found = by_template(colours, ZeroShotConfig(templates=templates))
    assert [one.template for one in found] == list(templates) and len({one.value for one in found}) > 1
    for one in found:
        alone = zero_shot(colours, ZeroShotConfig(templates=(one.template,)))
        assert one.value == pytest.approx(alone.figure("acc@1"))
    assert by_template(colours, ZeroShotConfig(templates="plain")) == ()


def test_descriptions_stand_for_names(colours):
    said = {name: (f"something {name}", f"{name} all over") for name in COLOURS}
    swapped = said | {"red": said["blue"], "blue": said["red"]}
    plain, config = colours.data, ZeroShotConfig(templates=("{}",))
    assert described(colours, config) == []
    [found] = described(replace(colours, data=replace(plain, descriptions=said)), config)
    [wrong] = described(replace(colours, data=replace(plain, descriptions=swapped)), config)
    assert found.task == "zero_shot_descriptions" and found.ids == zero_shot(colours, config).ids
    assert found.figure("acc@1") == 1.0 and wrong.figure("acc@1") == 1 - 2 / len(COLOURS)
    direct = zero_shot(replace(colours, data=replace(plain, descriptions=said)),
                       ZeroShotConfig(templates="descriptions"))
    np.testing.assert_array_equal(direct.values["acc@1"], found.values["acc@1"])


def test_templates_are_the_datas_own_else_the_languages_else_the_usual_ones(colours):
    own = replace(colours.data, templates=("an icon of {}",), names={"de": {name: f"{name}!" for name in COLOURS}})
    assert prompts(own, ZeroShotConfig())[0] == ["an icon of black"]
    assert prompts(own, ZeroShotConfig(language="de"))[0] == ["Foto: black!", "Bild: black!"]
    assert prompts(own, ZeroShotConfig(templates="siglip"))[0] == ["This is a photo of black."]
    assert len(prompts(colours.data, ZeroShotConfig())[0]) == 7
    assert len(prompts(colours.data, ZeroShotConfig(otherwise="clip80"))[0]) == 80


def test_only_the_test_part_is_tested(tmp_path):
    for part in ("train", "test"):
        classes(tmp_path / "pictures" / part, each=3 if part == "train" else 2)
    folder = tmp_path / "pictures"
    for path in folder.glob("train/*/*.png"):  # the same pixels would be one picture
        path.write_bytes(path.read_bytes() + b"\0")
    outcome = zero_shot(asked(folder, ColourEmbedder()), ZeroShotConfig())
    assert len(outcome.ids) == 2 * len(COLOURS) and all(id_.startswith("test/") for id_ in outcome.ids)


def test_mistakes_are_told(tmp_path, colours):
    with pytest.raises(ValueError, match="no set of templates 'clip8'"):
        ZeroShotConfig(templates="clip8")
    with pytest.raises(ValueError, match=r"one \{\} where the class name goes"):
        ZeroShotConfig(templates=("a photo",))
    with pytest.raises(ValueError, match="has no class names in 'de'; it has none but its own"):
        names_of(colours.data, "de")
    one_class = classes(tmp_path / "one")
    for colour in [*COLOURS][1:]:
        for path in (one_class / colour).iterdir():
            path.unlink()
    with pytest.raises(ValueError, match="has 0 classes"):
        zero_shot(asked(one_class, ColourEmbedder()), ZeroShotConfig())
