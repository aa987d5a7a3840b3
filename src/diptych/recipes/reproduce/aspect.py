"""Pictures at their own aspect ratio against squashed ones (NaFlex, SigLIP 2, arXiv 2502.14786 §2.4.2)."""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from diptych.core.files import write_text
from diptych.data import pictograms
from diptych.data.draws import generator
from diptych.data.records import Record
from diptych.data.tars import write_tar
from diptych.evaluation.metrics.ranking import hit_at_k, relevant_ranks
from diptych.models.checkpoints.loading import load_embedder
from diptych.recipes.family import corpus
from diptych.recipes.family.config import DataConfig, Recipe, SourceConfig
from diptych.recipes.family.run import train
from diptych.recipes.reproduce.experiment import Experiment
from diptych.recipes.reproduce.lab import Lab
from diptych.recipes.reproduce.verdict import Results, Rule
from diptych.recipes.siglip import siglip_tiny

PAIRS, BATCH = 20_000, 100
CONCEPTS = 100
BUDGET = 36
"""Patches of 8 pixels: 48 × 48 pixels, or 24 × 80 and the like."""

HEIGHT = 48
WIDE = 3

Policy = Literal["squash", "NaFlex"]
Shape = Literal["1 : 1", "3 : 1"]


@dataclass(frozen=True, kw_only=True)
class AspectArm:
    """How pictures of a shape come to the tower, in training and in the test."""

    policy: Policy
    shape: Shape
    pairs: int = PAIRS

    @property
    def series(self) -> str:
        """How pictures are scaled."""
        return self.policy

    @property
    def x(self) -> str:
        """Width to height."""
        return self.shape


def recipe_of(arm: AspectArm, seed: int, share: float, data: Path) -> Recipe:
    """siglip_tiny on the pictures of that shape, its tower native or not, with as many patches."""
    recipe = siglip_tiny()
    first = recipe.stages[0]
    steps = max(4, round(arm.pairs * share / BATCH))
    run = dataclasses.replace(
        first.run, steps=steps, batch=BATCH, ema=None, evaluate_every=steps, checkpoint_every=100,
        optimizer=dataclasses.replace(first.run.optimizer, warmup_steps=max(1, steps // 10)))
    stage = dataclasses.replace(first, run=run, lengths=(BUDGET,) if arm.policy == "NaFlex" else ())
    source = SourceConfig(name=arm.shape, paths=(str(data / "train.tar"),))
    return dataclasses.replace(
        recipe, seed=seed, stages=(stage,), tokenizer_file=str(data / "tokenizer.json"),
        data=DataConfig(sources=(source,), scale=(1.0, 1.0), workers=1))


def measure(lab: Lab, arm: AspectArm, seed: int) -> Mapping[str, float]:
    """How well names find the pictures of that shape by a vendor that was never seen."""
    data = prepared(lab.folder / "aspect" / f"{arm.shape.replace(' : ', 'to')}-{lab.scale.every}", arm.shape,
                    lab.scale.every)
    folder = lab.folder / "aspect" / f"{arm.policy}-{arm.shape.replace(' : ', 'to')}-{seed}-{lab.scale.share:g}"
    model = load_embedder(train(recipe_of(arm, seed, lab.scale.share, data), folder), precision="fp32",
                          runtime="torch")
    kept = np.load(data / "test.npz")
    names = [str(name) for name in kept["names"]]
    order = {name: i for i, name in enumerate(sorted(set(names)))}
    positive = np.zeros((len(order), len(names)), bool)
    positive[[order[name] for name in names], np.arange(len(names))] = True
    there, back = relevant_ranks(
        model.embed_texts(list(order)), model.embed_images(list(kept["pictures"])), *np.nonzero(positive))
    one, five = (float(hit_at_k(there, k).mean() + hit_at_k(back, k).mean()) * 50 for k in (1, 5))
    return {"hit@1": one, "hit@5": five}


def prepared(folder: Path, shape: Shape, every: int) -> Path:
    """Shards of drawings of some ideas on grounds of that shape, a vocabulary, and the test's pictures; made once."""
    if (folder / "test.npz").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    said = {row["hexcode"]: row["name"] for row in pictograms.names(["en"]).to_pylist()}
    rows = [row for row in pictograms.pictures(splits=["train"]).to_pylist()
            if row["base"] and not row["flag"] and row["hexcode"] in said]
    ideas = sorted({row["hexcode"] for row in rows if row["vendor"] == corpus.HELD_OUT_VENDOR})
    ideas = ideas[:: max(1, len(ideas) // CONCEPTS)][: max(4, CONCEPTS // every)]
    rows = [row for row in rows if row["hexcode"] in set(ideas)]
    records: list[Record] = []
    pictures: list[np.ndarray] = []
    names: list[str] = []
    for row in rows:
        drawing, name = corpus.cutout(row["picture"]), said[row["hexcode"]]
        if row["vendor"] == corpus.HELD_OUT_VENDOR:
            pictures.append(np.asarray(drawn(drawing, shape, row["id"], 0)))
            names.append(name)
            continue
        for number in range(3):
            stream = io.BytesIO()
            drawn(drawing, shape, row["id"], number).save(stream, "PNG")
            records.append(Record(key=f"{row['id'].replace('/', '-')}-{number}", data=stream.getvalue(),
                                  captions=(name,)))
    write_tar(folder / "train.tar", records)
    write_text(folder / "tokenizer.json", corpus.vocabulary(["en"], siglip_tiny().model.text.vocab_size, "nfkc_lower"))
    np.savez(folder / "test.npz", pictures=np.stack(pictures), names=np.array(names))
    return folder


def drawn(drawing: Image.Image, shape: Shape, name: str, number: int) -> Image.Image:
    """The drawing as high as the ground, somewhere along it."""
    rng = generator(0, "aspect", name, number)
    width = HEIGHT * (WIDE if shape == "3 : 1" else 1)
    red, green, blue = (int(c) for c in rng.integers(0, 256, 3)) if rng.random() < 0.5 else (255, 255, 255)
    ground = Image.new("RGB", (width, HEIGHT), (red, green, blue))
    side = round(HEIGHT * float(rng.uniform(0.75, 1.0)))
    small = drawing.resize((side, side), Image.Resampling.BILINEAR)
    ground.paste(small, (int(rng.integers(0, width - side + 1)), int(rng.integers(0, HEIGHT - side + 1))), small)
    return ground


def _contrast(results: Results) -> float:
    return results["NaFlex", "3 : 1"]["hit@5"] - results["squash", "3 : 1"]["hit@5"]


EXPERIMENT = Experiment(
    name="aspect",
    title="native aspect ratio against a square, on wide pictures",
    claim="With as many patches, a tower that keeps the aspect ratio does better on pictures that are far from square, "
          "and no worse on square ones.",
    source="SigLIP 2, arXiv 2502.14786 §2.4.2",
    setting=f"{CONCEPTS} ideas, drawings somewhere on grounds of 48 × 48 or 144 × 48 pixels, {BUDGET} patches of 8 "
            f"pixels for each; ViTs of four layers of 128 from scratch, {PAIRS:,} pairs in batches of {BATCH}; the "
            "test's drawings are by a vendor that was never seen.",
    x_title="width to height",
    figure="hit@5",
    figure_title="mean hit@5 of both ways among 100 ideas, %",
    arms=tuple(AspectArm(policy=policy, shape=shape)
               for shape in ("1 : 1", "3 : 1") for policy in ("squash", "NaFlex")),
    measure=measure,
    rule=Rule(says="NaFlex − squash on pictures of 3 : 1, hit@5", contrast=_contrast),
    shown=("hit@5", "hit@1"),
    connect=True,
)
