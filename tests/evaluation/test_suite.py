"""A whole suite on real files: the stronger model leads, the constant one is at chance, and nothing is done twice."""

import functools
import io
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from coloured import classes
from diptych.core.errors import PictureError
from diptych.data.regions import Region
from diptych.evaluation.captioning import CaptioningConfig
from diptych.evaluation.dataset import Dataset, Maps
from diptych.evaluation.depth import DepthConfig
from diptych.evaluation.efficiency import EfficiencyConfig
from diptych.evaluation.embedded import Looks
from diptych.evaluation.grounding import GroundingConfig
from diptych.evaluation.predictions import write_predictions
from diptych.evaluation.report import record
from diptych.evaluation.report.page import page
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.robustness import CorruptionsConfig
from diptych.evaluation.segmentation import SegmentationConfig
from diptych.evaluation.sets import open_dataset
from diptych.evaluation.suite import Entrant, evaluate
from diptych.evaluation.tasks import Suite
from diptych.evaluation.zero_shot import ZeroShotConfig
from fakes import COLOURS, ColourEmbedder, ConstantEmbedder, CountingEmbedder

SUITE = Suite(name="small", zero_shot=ZeroShotConfig(templates=("{}", "a {} thing")), retrieval=RetrievalConfig(),
              corruptions=CorruptionsConfig(pictures=8, corruptions=("fog",), severities=(1,), neighbours=2),
              efficiency=EfficiencyConfig(batches=(1,), rounds=2, least=1), draws=200)


def entrant(kind):
    return Entrant(embedder=kind(), open_model=functools.partial(kind), runtime="numpy fp32", weights_bytes=1000,
                   image_operations=2e9)


@pytest.fixture
def data(tmp_path):
    folder = classes(tmp_path / "pictures", each=6)
    rows = ["image,label,caption", *(f"{c}/{i}.png,{c},number {i} {c}" for c in COLOURS for i in range(6))]
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return open_dataset(folder / "pairs.csv")


def test_the_better_model_leads_and_the_constant_one_is_wrong(data):
    found = evaluate(SUITE, [entrant(ColourEmbedder), entrant(ConstantEmbedder)], data, "a test").comparison
    by_name = {(f.model, f.task, f.name): f for f in found.figures if not f.slice}
    assert by_name["colours", "zero_shot", "acc@1"].value == 1.0
    assert by_name["constant", "zero_shot", "acc@1"].value == by_name["constant", "text_to_image", "hit@1"].value == 0
    for figure in found.figures:
        assert not figure.low > figure.value and not figure.value > figure.high
    assert found.headline == ("text_to_image", "hit@1") and found.sentences[0].startswith("colours leads")
    told = {(d.task, d.name): d.verdict for d in found.differences}
    assert told["zero_shot", "acc@1"] == "better"
    assert {c.model for c in found.costs} == {"colours", "constant"} and found.costs[0].image_gflops == 2.0
    assert found.provenance.hardware == "a test" and found.data.counts["pictures"] == len(data)
    assert found.views.thumbnails and found.views.grids and found.views.confusions and found.views.templates
    assert record.from_json(record.to_json(found)) == found


def test_what_the_data_do_not_allow_is_left_out_with_its_reason(tmp_path):
    found = evaluate(SUITE, [entrant(ColourEmbedder)], open_dataset(classes(tmp_path / "pictures"))).comparison
    assert "has no captions" in found.provenance.left_out["retrieval"] and found.headline == ("zero_shot", "acc@1")
    (tmp_path / "few").mkdir()
    only = Suite(name="only", retrieval=RetrievalConfig())
    with pytest.raises(ValueError, match="allows no task of the suite 'only'"):
        evaluate(only, [entrant(ColourEmbedder)], open_dataset(tmp_path / "pictures"))


def test_a_task_is_left_out_for_the_models_that_cannot_do_it(data):
    suite = replace(SUITE, captioning=CaptioningConfig(), corruptions=None, efficiency=None)
    speaking = replace(entrant(ColourEmbedder), looks=Looks(describe=lambda some: ["number 1 red"] * len(some)))
    made = evaluate(suite, [entrant(ConstantEmbedder), speaking], data)
    found = made.comparison
    assert set(found.provenance.left_out) == {"captioning (constant)"}
    assert set(made.outcomes["captioning"]) == {"colours"}
    assert "has no decoder" in found.provenance.left_out["captioning (constant)"]
    assert {f.model for f in found.figures if f.task == "captioning"} == {"colours"}
    assert not [d for d in found.differences if d.task == "captioning"] and found.headline == ("text_to_image", "hit@1")
    assert found.views.captions[0].said == {"colours": "number 1 red"}
    assert set(found.views.thumbnails) >= {one.id for one in found.views.captions}
    assert record.from_json(record.to_json(found)) == found and page(found)
    alone = evaluate(replace(suite, retrieval=None, zero_shot=None, corruptions=None), [
        entrant(ConstantEmbedder), speaking], data).comparison
    assert alone.headline == ("captioning", "cider") and alone.sentences[0].startswith("colours reaches")
    none = evaluate(suite, [entrant(ConstantEmbedder), entrant(ColourEmbedder)], data).comparison
    assert set(none.provenance.left_out) == {"captioning"}  # once, for all of them


def test_what_training_may_have_seen_is_no_test(data):
    parts = tuple("train" if i % 2 else "test" for i in range(len(data)))
    split = replace(data, columns={**data.columns, "split": parts})
    found = evaluate(replace(SUITE, efficiency=None), [entrant(ColourEmbedder)], split)
    test = {name for name, part in zip(data.ids, parts, strict=True) if part == "test"}
    for task in ("text_to_image", "image_to_text", "zero_shot", "corruptions"):
        outcome = found.outcomes[task]["colours"]
        shown = outcome.details.get("picture", outcome.groups if task == "corruptions" else outcome.ids)
        assert len(outcome.ids) == (8 if task == "corruptions" else len(test)), task
        assert task == "text_to_image" or set(shown) <= test
    assert {f.count for f in found.comparison.figures if f.task == "text_to_image" and not f.slice} == {len(test)}


def test_a_picture_that_goes_meanwhile_costs_its_task_alone(data):
    def gone(_):
        raise PictureError("removed from the collection")

    stored = replace(entrant(ColourEmbedder), stored=ColourEmbedder().embed_images(
        [Image.open(io.BytesIO(data.read(i))) for i in range(len(data))]))
    found = evaluate(replace(SUITE, efficiency=None), [stored], replace(data, read=gone))
    assert set(found.outcomes) == {"text_to_image", "image_to_text", "zero_shot"}
    assert "removed from the collection" in found.comparison.provenance.left_out["corruptions"]


def test_a_public_sets_own_figure_leads(data):
    known = replace(data, headline=("zero_shot", "mean_per_class_recall"))
    assert evaluate(SUITE, [entrant(ColourEmbedder)], known).comparison.headline == known.headline
    other = replace(data, headline=("winoground", "group"))
    assert evaluate(SUITE, [entrant(ColourEmbedder)], other).comparison.headline == ("text_to_image", "hit@1")


def test_groups_have_a_worst_one(data):
    suite = replace(SUITE, groups=("label_kind",))
    with pytest.raises(ValueError, match="has no column 'label_kind'"):
        evaluate(suite, [entrant(ColourEmbedder)], data)
    kinds = tuple("warm" if label in ("red", "yellow", "magenta") else "cold" for label in data.labels)
    grouped = replace(data, columns={"label_kind": kinds})
    found = evaluate(suite, [entrant(ColourEmbedder)], grouped).comparison
    by_name = {(f.task, f.name): f.value for f in found.figures}
    assert by_name["zero_shot by label_kind", "worst_group_acc@1"] == 1.0
    assert by_name["zero_shot by label_kind", "gap_acc@1"] == 0.0


def test_models_of_one_name_are_refused(data):
    with pytest.raises(ValueError, match="told apart by their names"):
        evaluate(SUITE, [entrant(ColourEmbedder), entrant(ColourEmbedder)], data)


def test_a_second_run_embeds_nothing_again(data):
    suite = replace(SUITE, efficiency=None, corruptions=None)
    first, again = entrant(CountingEmbedder), entrant(CountingEmbedder)
    one, two = (evaluate(suite, [e], data).comparison for e in (first, again))
    assert first.embedder.pictures == len(data) and again.embedder.pictures == again.embedder.texts == 0
    assert one.figures == two.figures and one.differences == two.differences == ()


def test_predictions_are_a_table_for_each_task(data, tmp_path):
    found = evaluate(SUITE, [entrant(ColourEmbedder), entrant(ConstantEmbedder)], data)
    paths = write_predictions(found.outcomes, tmp_path / "predictions")
    assert {path.stem for path in paths} == {"text_to_image", "image_to_text", "zero_shot", "corruptions"}
    rows = pq.read_table(tmp_path / "predictions" / "zero_shot.parquet").to_pylist()
    assert len(rows) == 2 * len(data)
    assert {(r["model"], r["expected"] == r["predicted"]) for r in rows if r["acc@1"]} == {("colours", True)}


PIXELS = Suite(name="pixels", segmentation=SegmentationConfig(samples=500), depth=DepthConfig(samples=500, bins=16),
               grounding=GroundingConfig(), draws=200)


def halves(count=20):
    """Pictures with a red half, at some side; red is near."""
    upper = np.repeat([1.0, 0.0], 8)[:, None] * np.ones((16, 16))
    masks = [(upper, upper[::-1], upper.T, upper.T[:, ::-1])[number % 4] for number in range(count)]

    def read(number):
        stream = io.BytesIO()
        Image.fromarray((masks[number][..., None] * (255, 0, 0)).astype(np.uint8)).save(stream, "PNG")
        return stream.getvalue()

    def box(mask):
        rows, columns = np.nonzero(mask)
        return columns.min() / 16, rows.min() / 16, (columns.max() + 1) / 16, (rows.max() + 1) / 16
    return Dataset(
        name="halves", sha256="halves", ids=tuple(f"h{i}" for i in range(count)), read=read, labels=("",) * count,
        maps=Maps(things=("black", "red"), mask=lambda i: masks[i].astype(np.uint8), depth=lambda i: 3.0 - masks[i]),
        regions={i: (Region(box=box(mask), text="red"),) for i, mask in enumerate(masks)})


def sees(kind):
    """A model whose patches are pixels."""
    looks = Looks(
        patches=lambda pictures: [np.asarray(p.resize((4, 4)), np.float32) / 255 for p in pictures],
        heat=lambda picture, texts: np.stack([np.asarray(picture, float)[..., 0] for _ in texts]))
    return replace(entrant(kind), looks=looks)


@pytest.mark.parametrize("as_scenes", [False, True])
def test_tasks_that_look_into_pictures(data, as_scenes):
    whole = replace(data, scenes=halves()) if as_scenes else halves()
    found = evaluate(PIXELS, [sees(ColourEmbedder), sees(ConstantEmbedder)], whole).comparison
    by_name = {(f.model, f.task, f.name): f for f in found.figures if not f.slice}
    assert by_name["colours", "segmentation", "miou"].value > 0.9 > by_name["colours", "segmentation", "miou"].chance
    assert by_name["colours", "depth", "rmse"].value < 0.3 < by_name["colours", "depth", "rmse"].chance
    assert by_name["colours", "depth", "rmse"].better == "lower"
    assert by_name["colours", "grounding", "acc@iou0.5"].value == 1
    assert {d.name for d in found.differences} == {"miou", "rmse", "acc@iou0.5"}
    assert found.headline == ("segmentation", "miou") and record.from_json(record.to_json(found)) == found


def test_a_model_that_shows_no_patches_and_data_without_maps(data):
    suite = replace(PIXELS, zero_shot=SUITE.zero_shot)
    left_out = evaluate(suite, [sees(ColourEmbedder)], data).comparison.provenance.left_out
    assert "no masks" in left_out["segmentation"] and "no depths" in left_out["depth"]
    assert "no regions" in left_out["grounding"]
    left_out = evaluate(suite, [entrant(ColourEmbedder)], replace(data, scenes=halves())).comparison.provenance.left_out
    assert {"segmentation", "depth", "grounding"} == set(left_out)
    assert all("colours has no patch features" in why for why in left_out.values())
