"""The family's recipes on a sliver of the corpus: each runs to a model that opens, resumes exactly, and says what is
wrong with a configuration."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coloured import classes
from diptych import comparing
from diptych.cli.main import main
from diptych.core.config import override
from diptych.core.errors import CheckpointError, SourceError
from diptych.data import pictograms
from diptych.data.records import Record
from diptych.data.tars import write_tar
from diptych.evaluation.captioning import CaptioningConfig
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.tasks import Suite
from diptych.inputs.image import decode
from diptych.inputs.naflex import NaflexPreprocessing, pack
from diptych.models.checkpoints.captioner import has_captioner, open_captioner
from diptych.models.checkpoints.loading import load_embedder
from diptych.models.config import NaflexConfig
from diptych.models.embedder import prepare
from diptych.models.naflex import PackedPatches
from diptych.models.two_tower import TwoTower
from diptych.recipes.clip import tiny_towers
from diptych.recipes.family import corpus, run, start
from diptych.recipes.family.batches import length_of
from diptych.recipes.family.config import DataConfig, SourceConfig, forks
from diptych.recipes.family.estimate import estimate
from diptych.recipes.table import FAMILY, RECIPES
from diptych.training.log import MetricLog


def few_pictures():
    return pictograms.pictures(["noto", "twemoji"], ["train"]).slice(0, 40)


@pytest.fixture(autouse=True)
def sliver(monkeypatch):
    """Some dozens of pictograms, and no memory of them afterwards."""
    pictures = few_pictures()

    def few(vendors=None, splits=None, columns=None):
        return pictures

    monkeypatch.setattr(pictograms, "pictures", few)
    torch.manual_seed(0)


def small(name, **changes):
    """The recipe with towers of width 24, and each stage four steps of eight pairs."""
    recipe = FAMILY[name]()
    model = tiny_towers(recipe.model.init_logit_bias, recipe.model.init_logit_scale)
    image = dataclasses.replace(model.image, image_size=24, width=24, layers=2, heads=2, mlp_width=48)
    text = dataclasses.replace(model.text, width=24, layers=2, heads=2, mlp_width=48, projection=24, vocab_size=400)
    if recipe.start_from is None:
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(model, image=image, text=text),
                                     preprocessing=dataclasses.replace(recipe.preprocessing, size=24))
    branch = recipe.self_distillation
    if branch:
        views = dataclasses.replace(branch.views, global_size=24, local_size=16, local_views=2)
        branch = dataclasses.replace(branch, views=views, prototypes=16, hidden=12,
                                     weight=dataclasses.replace(branch.weight, start=0.5),
                                     masked_weight=dataclasses.replace(branch.masked_weight, start=0.5))
    stages = tuple(dataclasses.replace(
        stage, image_size=32 if stage.image_size else None, lengths=(4, 9) if stage.lengths else (),
        run=dataclasses.replace(stage.run, steps=4, batch=8, log_every=1, checkpoint_every=2, evaluate_every=4,
                                optimizer=dataclasses.replace(stage.run.optimizer, warmup_steps=1, cooldown_steps=0)))
        for stage in recipe.stages)
    data = dataclasses.replace(recipe.data, workers=0)
    return dataclasses.replace(recipe, **{"stages": stages, "data": data, "self_distillation": branch} | changes)


def losses(folder):
    return [(r["stage"], r["step"], r["loss"]) for r in MetricLog(folder / "metrics.jsonl").read() if "loss" in r]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAMILY if name.endswith("_tiny")])
def test_every_tiny_recipe_runs_to_a_model_that_opens(tmp_path, name):
    seen = []
    made = run.train(small(name), tmp_path, evaluate=lambda model: seen.append(model.spec.name) or {"n": 1.0})
    model = load_embedder(made)
    assert model.spec.name == FAMILY[name]().name == seen[0]
    assert model.spec.score_kind == (FAMILY[name]().loss or load_embedder("diptych-tiny").spec.score_kind)
    vectors = model.embed_images([Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")])
    assert np.isfinite(vectors).all() and np.isfinite(model.embed_texts(["red heart"])).all()
    assert len(losses(tmp_path)) == 4 * len(small(name).stages)
    again = run.train(small(name), tmp_path)  # finished: nothing is trained twice
    assert again == made and len(losses(tmp_path)) == 4 * len(small(name).stages)


@pytest.mark.slow
def test_the_decoder_is_kept_beside_the_model_and_captions_are_compared(tmp_path, monkeypatch):
    students, write = [], run.save_captioner

    def watched(folder, decoder, *rest):
        students.append(decoder)
        write(folder, decoder, *rest)

    monkeypatch.setattr(run, "save_captioner", watched)
    recipe = small("siglip2_tiny")
    first = dataclasses.replace(recipe, stages=recipe.stages[:1])
    model = load_embedder(run.train(first, tmp_path / "run"))
    found = open_captioner(tmp_path / "run" / "model", model)
    student = students[0].eval()
    student.load_state_dict({name: t.half().float() for name, t in student.state_dict().items()})  # as in the file
    pictures = [decode(row["picture"]) for row in few_pictures().to_pylist()[:3]]
    prompt = torch.tensor(model.tokenizer.vocabulary.ids(["cap:"])).expand(3, -1)
    with torch.inference_mode():
        _, memory = model.towers.image.features_and_memory(torch.from_numpy(prepare(pictures, model.preprocessing)))
        ids = student.predict(memory, eos_id=1, pad_id=0, prompt=prompt)
    assert found.describe(pictures) == found.tokenizer.decode(ids[:, prompt.shape[1] :].numpy())
    assert all(ids[:, prompt.shape[1]] > 1) and found.tokenizer.policy.length == student.config.context_length == 32

    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = few_pictures().to_pylist()[:12]
    for i, row in enumerate(rows):
        decode(row["picture"]).save(folder / f"{i}.png")
    (folder / "pairs.csv").write_text("\n".join([
        "id,image,caption", *(f"{i}.png,{i}.png,picture number {i}" for i in range(12))]))
    suite = Suite(name="captions", captioning=CaptioningConfig(), retrieval=RetrievalConfig(), draws=100)
    compared = comparing.compare([str(tmp_path / "run" / "model"), "diptych-tiny"], folder / "pairs.csv", suite=suite)
    assert set(compared.comparison.provenance.left_out) == {"captioning (diptych-tiny)"}
    told = compared.outcomes["captioning"]["run"]
    assert told.details["said"] == found.describe([decode((folder / name).read_bytes()) for name in told.ids])
    assert len(told.ids) == 12 and told.details["nearest"][0].startswith("picture number")


@pytest.mark.slow
def test_a_stage_without_branches_leaves_no_decoder_behind(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("decoder.json", "decoder.safetensors"):
        (tmp_path / "model" / name).write_text("of another run")
    recipe = small("siglip2_tiny")
    bare = dataclasses.replace(recipe.stages[0], branches=False)
    assert not has_captioner(run.train(dataclasses.replace(recipe, stages=(bare,)), tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_all_branches_and_stages_resume_exactly(tmp_path, stop):
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    run.train(small("siglip2_tiny"), straight)
    for _ in range(len(small("siglip2_tiny").stages) + 1):  # killed once in each stage
        run.train(small("siglip2_tiny"), resumed, stop_after=stop)
        run.train(small("siglip2_tiny"), resumed, stop_after=4)
    assert losses(resumed) == losses(straight)
    assert (resumed / "model" / "decoder.safetensors").read_bytes() == (
        straight / "model" / "decoder.safetensors").read_bytes()
    assert (resumed / "model" / "model.safetensors").read_bytes() == (straight / "model" / "model.safetensors"
                                                                     ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_train_all_branches_as_one_process_does(tmp_path, strategy):
    from family_ranks import many

    run.train(many(), tmp_path / "one")
    script = Path(__file__).with_name("family_ranks.py")
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           str(script), str(tmp_path / "two"), strategy], capture_output=True, text=True, check=False,
                          env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [row[:2] for row in one] == [row[:2] for row in two]
    assert [row[2] for row in two] == pytest.approx([row[2] for row in one], rel=1e-3)  # float32, and Adam after it
    model = load_embedder(tmp_path / "two" / "model")
    assert model.spec.name == "siglip2-tiny" and open_captioner(tmp_path / "two" / "model", model)


@pytest.mark.slow
def test_workers_and_intervals_change_no_batch(tmp_path):
    run.train(small("siglip_tiny"), tmp_path / "none")
    busy = override(small("siglip_tiny"), ["data.workers=3"])
    run.train(busy, tmp_path / "three")
    assert losses(tmp_path / "three") == losses(tmp_path / "none")
    run.train(busy, tmp_path / "none")  # the same run: how it is read is nobody's configuration


@pytest.mark.slow
@pytest.mark.parametrize("name", ["siglip2_tiny", "clip_tiny", "mobileclip_tiny"])
def test_a_batch_in_parts_is_the_same_batch(tmp_path, name):
    first = small(name).stages[0]
    curves = []
    for micro in (None, 2):
        stage = dataclasses.replace(first, run=dataclasses.replace(first.run, micro_batch=micro))
        run.train(dataclasses.replace(small(name), stages=(stage,), keep=None), tmp_path / str(micro))
        curves.append([loss for _, _, loss in losses(tmp_path / str(micro))])
    assert curves[1] == pytest.approx(curves[0], rel=2e-4)  # float32, and Adam after it


def test_the_stages_of_siglip_2_begin_where_the_paper_says():
    recipe = FAMILY["siglip2"]()
    assert forks(recipe, recipe.stage("pretrain")) == (1_098_632, 1_159_667)
    naflex = start.towers_of(recipe, recipe.stage("naflex")).image
    assert isinstance(naflex, NaflexConfig) and naflex.max_patches == 1024 and naflex.grid == 16
    assert start.towers_of(recipe, recipe.stage("resolution")).image.grid == 24
    drawn = [length_of(recipe, recipe.stage("naflex"), step) for step in range(2000)]
    assert set(drawn) == {128, 256, 576, 784, 1024} and min(map(drawn.count, set(drawn))) > 300
    assert recipe.stage("naflex").run.steps == round(1_220_703 * 0.1 * 3.75)


def test_a_native_aspect_tower_begins_as_the_square_one(tmp_path):
    recipe = small("siglip2_tiny")
    square = TwoTower(recipe.model).eval()
    stage = recipe.stage("naflex")
    native = TwoTower(start.towers_of(recipe, dataclasses.replace(stage, lengths=(9,)))).eval()
    native.load_state_dict(square.state_dict())
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    batch = pack([picture], NaflexPreprocessing(patch_size=8, max_patches=9))
    pixels = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)[None].sub(0.5).div(0.5)
    with torch.inference_mode():
        packed = native.image(PackedPatches(torch.from_numpy(batch.patches), torch.from_numpy(batch.grids)))
        torch.testing.assert_close(packed, square.image(pixels), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_ones_own_shards_with_a_tokenizer_file(tmp_path):
    shard = tmp_path / "a.tar"
    rng = np.random.default_rng(0)
    records = []
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (20, 40, 3), np.uint8)).save(tmp_path / "one.png")
        data = (tmp_path / "one.png").read_bytes()
        records.append(Record(key=f"{i:04}", data=data if i != 5 else b"no picture", captions=(f"text {i}",)))
    write_tar(shard, records)
    (tmp_path / "tokenizer.json").write_text(corpus.vocabulary(["en"], 400, "nfkc_lower"))
    data = DataConfig(sources=(SourceConfig(name="mine", paths=(str(shard),)),), workers=0)
    recipe = small("siglip_tiny", data=data)
    with pytest.raises(ValueError, match="these data have no vocabulary of their own: name a tokenizer"):
        run.train(recipe, tmp_path / "run")
    recipe = dataclasses.replace(recipe, tokenizer_file=str(tmp_path / "tokenizer.json"))
    load_embedder(run.train(recipe, tmp_path / "run"))
    write_tar(shard, records[:10])
    with pytest.raises(SourceError, match=r"source 'mine' changed \(records was 20, is 10"):
        run.train(recipe, tmp_path / "run")
    counted = [r["unreadable"] for r in MetricLog(tmp_path / "run" / "metrics.jsonl").read() if "unreadable" in r]
    assert counted == sorted(counted) and counted[-1] >= 1  # 32 of 20 records: the broken one was asked for
    words = dataclasses.replace(recipe, tokenizer=dataclasses.replace(recipe.tokenizer, eos_id=300))
    with pytest.raises(ValueError, match=r"tokenizer\.eos_id is 300, which is '.*' in this tokenizer's file; set"):
        run.train(words, tmp_path / "words")


@pytest.mark.slow
def test_ones_own_pictures_judge_a_model_on_its_way(tmp_path, monkeypatch, own_home):
    folder = classes(tmp_path / "pictures", each=3)
    for path in folder.rglob("*.png"):
        path.with_suffix(".txt").write_text(f"number {path.stem} {path.parent.name}")
    (tmp_path / "tokenizer.json").write_text(corpus.vocabulary(["en"], 400, "nfkc_lower"))
    monkeypatch.setitem(RECIPES, "siglip_tiny", lambda: override(small("siglip_tiny"), [
        f"stages.{small('siglip_tiny').stages[0].name}.run.evaluate_every=2"]))
    command = ["train", "siglip_tiny", "--data", str(folder), "--set", f"tokenizer_file={tmp_path / 'tokenizer.json'}",
               "--to", str(tmp_path / "run"), "--evaluate-limit", "20", "--evaluate-on"]
    assert main([*command, str(folder)]) == 0
    scores = [r for r in MetricLog(tmp_path / "run" / "metrics.jsonl").read() if "text_to_image/hit@1" in r]
    assert [r["step"] for r in scores] == [2, 4] and str(scores[0]["stage"]).endswith("/scores")
    assert 0 <= scores[1]["text_to_image/hit@1"] <= scores[1]["text_to_image/hit@5"] <= 1
    assert "image_to_text/mrr" in scores[1]
    assert scores[0]["text_to_image/brier"] != scores[1]["text_to_image/brier"]  # the model has learned between
    assert not (own_home / "evaluations").exists()


def test_what_is_wrong_with_ones_own_pictures_is_told_before_any_training(tmp_path, capsys):
    command = ["train", "siglip_tiny", "--to", str(tmp_path / "run"), "--evaluate-on"]
    Image.new("RGB", (8, 8)).save(tmp_path / "nothing-said.png")
    for on, also, says in ((tmp_path / "missing", [], "missing"), ("pictograms", ["--evaluate-suite", "quik"], "quick"),
                           ("collection:trips", [], "collection"), (tmp_path, [], "neither captions nor two classes")):
        assert main([*command, str(on), *also]) != 0
        assert says in capsys.readouterr().err
    assert main(["train", "tiny", "--evaluate-on", "pictograms"]) == 2
    assert "evaluators of its own" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_adapters_alone_are_trained_and_merged(tmp_path):
    from diptych.recipes.family.config import Lora

    before = load_embedder("diptych-tiny").towers.state_dict()
    recipe = override(small("finetune_tiny", lora=Lora(rank=2)), ["stages.tune.run.optimizer.lr=0.03"])
    made = run.train(recipe, tmp_path)
    after = load_embedder(made).towers.state_dict()
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=2e-3, rtol=2e-3)}
    assert changed and all(".blocks." in name and name.endswith("weight") for name in changed)


def test_mistakes_are_told(tmp_path, capsys):
    assert main(["train", "siglip_tine"]) != 0
    assert "the nearest is 'siglip_tiny'" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no setting 'data.worker'; the nearest is 'data.workers'"):
        override(FAMILY["siglip_tiny"](), ["data.worker=3"])
    with pytest.raises(ValueError, match="the towers must meet in one width: the picture tower's is 128"):
        override(FAMILY["siglip_tiny"](), ["model.text.projection=64"])
    with pytest.raises(ValueError, match="needs a picture tower with tokens"):
        dataclasses.replace(FAMILY["finetune_tiny"](), decoder=FAMILY["siglip2_tiny"]().decoder)
    with pytest.raises(ValueError, match="stage 'b' begins after 'a', which does not come before it"):
        stage = dataclasses.replace(FAMILY["siglip_tiny"]().stages[0], name="b", after="a")
        dataclasses.replace(FAMILY["siglip_tiny"](), stages=(stage,))
    recipe = small("siglip_tiny")
    with pytest.raises(ValueError, match="micro_batch must divide the batch, 8; got 3"):
        dataclasses.replace(recipe.stages[0].run, micro_batch=3)
    run.train(recipe, tmp_path / "a", stop_after=0)
    with pytest.raises(SourceError):
        run.train(small("siglip_tiny", data=DataConfig(
            sources=(SourceConfig(name="x", paths=("/nowhere/*.tar",)),))), tmp_path / "b")
    run.train(recipe, tmp_path / "c", stop_after=2)
    with pytest.raises(CheckpointError, match="holds a run of another configuration"):
        run.train(override(recipe, ["seed=1"]), tmp_path / "c")


def test_two_runs_do_not_write_one_folder(tmp_path):
    recipe, said = small("siglip_tiny"), []

    def intrude(_):
        with pytest.raises(CheckpointError, match="another process is training"):
            run.train(recipe, tmp_path)
        said.append(True)
        return {"n": 1.0}

    run.train(recipe, tmp_path, evaluate=intrude)
    assert said
    run.train(recipe, tmp_path)  # the first has let go


def test_a_dry_run_prints_the_recipe_and_what_a_step_costs(capsys):
    assert main(["train", "siglip_tiny", "--dry-run"]) == 0
    out = capsys.readouterr().out
    recipe = json.loads(out[: out.rindex("}") + 1])
    assert recipe["name"] == "siglip-tiny" and recipe["stages"][0]["run"]["steps"] == 1000
    assert "36 + 16 tokens" in out and "GFLOP a pair" in out and "memory about" in out


def test_the_estimate_counts_what_a_transformer_does():
    recipe = FAMILY["siglip"]()
    found = estimate(recipe, recipe.stages[0], recipe.model)
    blocks = 12 * (4 * 768**2 + 2 * 768 * 3072) * 2 * (256 + 64)  # products with weights; attention adds some
    assert 1.0 < found.flops_per_pair / 4 / blocks < 1.15  # forward twice (parts), backward twice as much
    assert found.image_parameters == pytest.approx(92.9e6, rel=0.01) and found.image_tokens == 256


@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimated_memory_is_what_a_step_keeps(recompute):
    recipe = FAMILY["siglip_tiny"]()
    stage = dataclasses.replace(recipe.stages[0], recompute=recompute)
    kept, towers = {}, TwoTower(recipe.model)
    with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t) is None or t, lambda t: t):
        held = towers.image(torch.randn(8, 3, 48, 48)), towers.text(torch.zeros(8, 16, dtype=torch.long))
    own = {p.untyped_storage().data_ptr() for p in towers.parameters()}
    real = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own) / 8
    found = estimate(recipe, stage, recipe.model, ranks=4)
    assert len(held) == 2 and found.ranks == 4
    if recompute:  # seven blocks: their inputs, one of them whole, and what is outside
        assert real / 7 < found.activations_memory / 64 < real / 2
    else:
        assert found.activations_memory / 64 == pytest.approx(real, rel=0.02)


def test_the_table_has_every_recipe_and_its_sibling():
    assert set(FAMILY) < set(RECIPES) and {"tiny", "tiny_scratch"} < set(RECIPES)
    assert {name.removesuffix("_tiny") for name in FAMILY} <= set(FAMILY)
