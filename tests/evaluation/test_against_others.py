"""The same embeddings through our tasks and through other people's code: CLIP_benchmark 1.6.2 and torchmetrics.

Where definitions agree, numbers do. docs/compare.md says where they do not, and the last tests here show it.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from clip_benchmark.metrics import image_caption_selection, zeroshot_classification, zeroshot_retrieval
from sklearn.metrics import balanced_accuracy_score
from torchmetrics.functional.classification import binary_auroc, multiclass_calibration_error, multiclass_jaccard_index
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_hit_rate,
    retrieval_normalized_dcg,
    retrieval_recall,
    retrieval_reciprocal_rank,
)
from worlds import dataset, embedded, knowing, unit

from diptych.evaluation.compositional import CompositionalConfig, hard_negatives, winoground
from diptych.evaluation.dataset import Caption
from diptych.evaluation.metrics import calibration, dense, detection, ranking
from diptych.evaluation.retrieval import RetrievalConfig, retrieval
from diptych.evaluation.templates import TEMPLATES, fill
from diptych.evaluation.zero_shot import ZeroShotConfig, zero_shot

DIM = 24


class Model:
    """A model in CLIP_benchmark's form: a picture is its number, a text one of those that are known."""

    def __init__(self, images: np.ndarray, texts: dict[str, np.ndarray]):
        self.images, self.number = torch.from_numpy(images), {text: at for at, text in enumerate(texts)}
        self.texts = torch.from_numpy(np.stack(list(texts.values())))

    def pictures(self, numbers: Sequence[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.float32)[:, None, None, None]

    def tokenizer(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([self.number[text] for text in texts])

    def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.images[pictures.flatten().long()]

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.texts[tokens]


def texts_near(rng: np.random.Generator, wanted: dict[str, np.ndarray], noise: float) -> dict[str, np.ndarray]:
    return {text: unit((near + noise * rng.normal(size=DIM))[None])[0] for text, near in wanted.items()}


def test_retrieval_is_clip_benchmarks():
    rng = np.random.default_rng(0)
    images = unit(rng.normal(size=(60, DIM)))
    said = {f"caption {at} of {picture}": images[picture] for picture in range(60) for at in range(1 + picture % 5)}
    texts = texts_near(rng, said, 0.4)
    captions = [Caption(text=text, pictures=(int(text.split()[-1]),)) for text in texts]
    model = Model(images, texts)
    batches = [(model.pictures(range(at, at + 20)), [[c.text for c in captions if picture in c.pictures]
                                                      for picture in range(at, at + 20)]) for at in (0, 20, 40)]
    theirs = zeroshot_retrieval.evaluate(model, batches, model.tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10])
    there, back = retrieval(embedded(dataset([""] * 60, captions=captions), images, texts), RetrievalConfig())
    assert 0.2 < there.figure("hit@1") < 0.95
    for k in (1, 5, 10):
        assert there.figure(f"hit@{k}") == pytest.approx(theirs[f"image_retrieval_recall@{k}"], abs=1e-6)
        assert back.figure(f"hit@{k}") == pytest.approx(theirs[f"text_retrieval_recall@{k}"], abs=1e-6)


def test_zero_shot_is_clip_benchmarks():
    rng = np.random.default_rng(1)
    labels = [f"class {number}" for number in rng.integers(0, 8, 300)]
    images = unit(knowing(labels, noise=1.5, dim=DIM))
    names = sorted(set(labels))
    centre = {name: images[[label == name for label in labels]].mean(axis=0) for name in names}
    config = ZeroShotConfig(templates="clip7")
    written = {fill(template, name): centre[name] for name in names for template in TEMPLATES["clip7"]}
    texts = texts_near(rng, written, 0.2)
    model = Model(images, texts)
    number = torch.tensor([names.index(label) for label in labels])
    batches = [(model.pictures(range(at, at + 100)), number[at : at + 100]) for at in (0, 100, 200)]
    classifier = zeroshot_classification.zero_shot_classifier(
        model, model.tokenizer, names, [template.replace("{}", "{c}") for template in TEMPLATES["clip7"]], "cpu", False)
    logits, target = zeroshot_classification.run_classification(model, classifier, batches, "cpu", amp=False)
    theirs = {"acc@1": float((logits.argmax(dim=1) == target).float().mean()),
              "acc@5": float((logits.topk(5).indices == target[:, None]).any(dim=1).float().mean()),
              "mean_per_class_recall": balanced_accuracy_score(target, logits.argmax(dim=1))}  # its evaluate() stops
    ours = zero_shot(embedded(dataset(labels), images, texts), config)
    assert 0.2 < ours.figure("acc@1") < 0.95
    for name, other in theirs.items():  # with numpy 2.4, at float(array of one)
        assert ours.figure(name) == pytest.approx(other, abs=1e-6)


def chosen(images: np.ndarray, texts: dict[str, np.ndarray], instances: list[tuple[list[int], list[str]]]) -> dict:
    """CLIP_benchmark's choice between pictures and captions."""
    model = Model(images, texts)
    batch = (torch.stack([model.pictures(pictures) for pictures, _ in instances]), [said for _, said in instances])
    return image_caption_selection.evaluate(model, [batch], model.tokenizer, "cpu", amp=False)


def test_winoground_is_clip_benchmarks():
    rng = np.random.default_rng(2)
    images = unit(rng.normal(size=(200, DIM)))
    texts = texts_near(rng, {f"text {number}": images[number] for number in range(200)}, 1.5)
    captions = [Caption(text=f"text {number}", pictures=(number,), negatives=(("swap", f"text {number ^ 1}"),))
                for number in range(200)]
    ours = winoground(embedded(dataset([""] * 200, captions=captions), images, texts), CompositionalConfig())
    theirs = chosen(images, texts, [([a, a + 1], [f"text {a}", f"text {a + 1}"]) for a in range(0, 200, 2)])
    assert 0.2 < ours.figure("group") < 0.95
    for name, other in (("text", "text_acc"), ("image", "image_acc"), ("group", "acc")):
        assert ours.figure(name) == pytest.approx(theirs[other], abs=1e-6)


def test_hard_negatives_are_clip_benchmarks_but_for_ties():
    rng = np.random.default_rng(3)
    images = unit(rng.normal(size=(150, DIM)))
    texts = texts_near(rng, {f"{kind} {number}": images[number] for number in range(150) for kind in ("true", "false")},
                       1.0)
    captions = [Caption(text=f"true {number}", pictures=(number,), negatives=(("swap", f"false {number}"),))
                for number in range(150)]
    data = dataset([""] * 150, captions=captions)
    instances = [([number], [f"true {number}", f"false {number}"]) for number in range(150)]
    ours = hard_negatives(embedded(data, images, texts), CompositionalConfig())
    assert ours.figure("true_over_negative") == pytest.approx(chosen(images, texts, instances)["text_acc"], abs=1e-6)
    blind = dict.fromkeys(texts, np.eye(DIM, dtype=np.float32)[0])  # one vector for every text tells nothing apart
    assert chosen(images, blind, instances)["text_acc"] == 1.0
    assert hard_negatives(embedded(data, images, blind), CompositionalConfig()).figure("true_over_negative") == 0.0


def test_several_labels_are_clip_benchmarks_but_for_classes_without_a_picture():
    rng = np.random.default_rng(4)
    scores, relevant = rng.random((80, 6)), rng.random((80, 6)) < 0.2
    theirs = zeroshot_classification.average_precision_per_class(torch.from_numpy(scores), torch.from_numpy(relevant))
    ours = [detection.average_precision(scores[:, one], relevant[:, one])(np.ones(80)) for one in range(6)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    nobody = torch.zeros(80, 1)
    assert zeroshot_classification.average_precision_per_class(torch.from_numpy(scores[:, :1]), nobody) == 0
    assert np.isnan(detection.average_precision(scores[:, 0], np.zeros(80, bool))(np.ones(80)))


def test_ranks_are_torchmetrics():
    rng = np.random.default_rng(5)
    left, right = unit(rng.normal(size=(40, DIM))), unit(rng.normal(size=(70, DIM)))
    positive = rng.random((40, 70)) < 0.08
    positive[np.arange(40), np.arange(40)] = True
    ranks, _ = ranking.relevant_ranks(left, right, *np.nonzero(positive))
    pairs = [(ranking.average_precision(ranks), retrieval_average_precision),
             (ranking.reciprocal_rank(ranks), retrieval_reciprocal_rank)]
    for k in (1, 5, 20):
        pairs += [(figure(ranks, k), lambda said, true, theirs=theirs, k=k: theirs(said, true, top_k=k))
                  for figure, theirs in ((ranking.hit_at_k, retrieval_hit_rate),
                                         (ranking.recall_at_k, retrieval_recall),
                                         (ranking.ndcg_at_k, retrieval_normalized_dcg))]
    scores = torch.from_numpy(left @ right.T) + 1  # theirs counts no relevant item whose score is not above 0
    for ours, theirs in pairs:
        expected = [float(theirs(said, true)) for said, true in zip(scores, torch.from_numpy(positive), strict=True)]
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_probabilities_overlaps_and_areas_are_torchmetrics():
    rng = np.random.default_rng(6)
    probability = rng.dirichlet(np.ones(4) / 2, 500)
    target = np.array([rng.choice(4, p=p) for p in probability**2 / (probability**2).sum(axis=1, keepdims=True)])
    said, right = probability.max(axis=1), (probability.argmax(axis=1) == target).astype(float)
    theirs = multiclass_calibration_error(torch.from_numpy(probability), torch.from_numpy(target), 4, n_bins=15)
    assert calibration.ece(said, right)() == pytest.approx(float(theirs), abs=1e-6)
    score, positive = rng.normal(size=300), rng.random(300) < 0.3
    assert detection.auroc(score, positive)(np.ones(300)) == pytest.approx(
        float(binary_auroc(torch.from_numpy(score), torch.from_numpy(positive))), abs=1e-6)
    predicted, truth = rng.integers(0, 5, (2, 6, 40, 40))
    assert dense.mean_iou(*dense.overlaps(predicted, truth, 5))() == pytest.approx(float(multiclass_jaccard_index(
        torch.from_numpy(predicted), torch.from_numpy(truth), 5)), abs=1e-6)
