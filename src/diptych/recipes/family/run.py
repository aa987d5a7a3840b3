"""Run a recipe: data → stages, each with the weights that it begins with → the model's folder.

Everything is kept in the run folder, so a killed run goes on where it stopped: `recipe.json`, `tokenizer.json`, a
checkpoint for each stage, `metrics.jsonl`, and at the end `model/`, which opens like any other, with the decoder beside
it that the stage trains. Under `torchrun` every rank runs this; the first one writes.
"""

import dataclasses
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from diptych.core import telemetry
from diptych.core.config import from_dict, to_json
from diptych.core.errors import CheckpointError
from diptych.core.files import sha256_bytes, write_text
from diptych.core.types import Embedder, EmbedderSpec, Picture
from diptych.data.learnability import Scored, select_embedded
from diptych.data.loader import Loader
from diptych.data.reader import ShardedSource
from diptych.data.regions import CAPTION
from diptych.data.shards import open_shards
from diptych.inputs.image import decode
from diptych.inputs.tokenizer import Tokenizer, TokenizerPolicy
from diptych.losses.distillation import Affinity
from diptych.models.checkpoints import folders, loading
from diptych.models.checkpoints.captioner import drop_captioner, save_captioner
from diptych.models.checkpoints.native import ModelCard, ModelConfig, save_model
from diptych.models.config import NaflexConfig
from diptych.models.decoder import Decoder
from diptych.models.embedder import TorchEmbedder
from diptych.models.layers import Block
from diptych.models.lora import LoraConfig, add_lora, merge_lora
from diptych.models.two_tower import TwoTower
from diptych.recipes.family import corpus
from diptych.recipes.family.batches import Batch, Collate, Prepare, schedules
from diptych.recipes.family.config import PICTOGRAMS, Recipe, SourceConfig, Stage, forks
from diptych.recipes.family.estimate import estimate, matrix_rate
from diptych.recipes.family.features import locked_features
from diptych.recipes.family.start import begin, preprocessing_of, resolved, towers_of
from diptych.recipes.family.student import Objective, Student
from diptych.recipes.family.texts import tokenizer_of
from diptych.training import gradient_cache, loop, parallel
from diptych.training.gradient_cache import Losses
from diptych.training.log import open_tracker
from diptych.training.optimizer import optimizer_of
from diptych.training.parallel import Cluster

Evaluate = Callable[[Embedder], Mapping[str, float]]

def train(recipe: Recipe, folder: Path, cluster: Cluster | None = None, evaluate: Evaluate | None = None,
          stop_after: int | None = None) -> Path:
    """Train (or go on) in `folder` and return the model's folder. `stop_after` ends the run at that step of the first
    stage that has more, as a kill would. CheckpointError when the folder holds another recipe's run, or when another
    process is training in it."""
    cluster = cluster or Cluster()
    recipe = resolved(recipe)
    sources = [_source(source, recipe) for source in recipe.data.sources]
    with _alone(folder) if cluster.first else nullcontext():
        _claim(folder, recipe, cluster)
        tokenizer = tokenizer_of(recipe, folder, cluster)
        for stage in recipe.stages:
            run = _Run(recipe, stage, folder, cluster, tokenizer, sources)
            if not run.train(evaluate, stop_after):
                return folder / "model"
            if stage is recipe.kept:
                run.write(folder / "model")
    return folder / "model"


class _Run:
    """One stage of a recipe on its way."""

    def __init__(self, recipe: Recipe, stage: Stage, folder: Path, cluster: Cluster, tokenizer: Tokenizer,
                 sources: Sequence[ShardedSource]):
        self.recipe, self.stage, self.folder, self.cluster = recipe, stage, folder, cluster
        self.tokenizer, self.sources = tokenizer, sources
        self.config = towers_of(recipe, stage)
        self.preprocessing = preprocessing_of(recipe, self.config)
        teachers = recipe.distillation.teachers if recipe.distillation and stage.branches else ()
        # whose pictures and ids a batch holds beside the student's, the reference last
        self.companions = [*(teacher.model for teacher in teachers),
                           *([stage.curation.reference] if stage.curation else [])]
        self.teachers = [_companion(teacher.model) for teacher in teachers]
        self.scales = [teacher.logit_scale for teacher in teachers]
        self.reference = _companion(stage.curation.reference) if stage.curation else None
        torch.manual_seed(recipe.seed)
        self.student = Student(recipe, stage, self.config)
        begin(self.student, recipe, stage, folder)
        if recipe.lora:
            self.student.towers.requires_grad_(False)
            add_lora(self.student.towers, LoraConfig(rank=recipe.lora.rank, alpha=recipe.lora.alpha))
        # packed sequences go past a block's own forward, which is where its shards would be gathered
        blocks = () if isinstance(self.config.image, NaflexConfig) else (Block,)
        later = any(schedule.points[0].share > 0 for schedule in schedules(recipe, stage).values())
        self.called = parallel.spread(self.student, cluster, blocks, idle=later or recipe.cached_image)
        if stage.compile:
            telemetry.notice(f"{stage.name}: compiling the towers, the first step takes a minute or two")
            self.student.towers.image.compile()
            self.student.towers.text.compile()
        self.objective = Objective(self.student, cluster)

    def train(self, evaluate: Evaluate | None, stop_after: int | None) -> bool:
        """The stage, as far as `stop_after`. Whether it got to its end."""
        recipe, stage, cluster = self.recipe, self.stage, self.cluster
        share = cluster.share(stage.run.batch)
        if recipe.lora and cluster.sharded:
            raise ValueError("adapters are for models that fit on one device: take --strategy ddp with lora")
        if stage.run.micro_batch and share > stage.run.micro_batch and share % stage.run.micro_batch:
            raise ValueError(f"micro_batch {stage.run.micro_batch} must divide a rank's share of the batch, {share}")
        with self._loader() as loader:
            collate = self._collate()

            def batch(step: int) -> Batch:
                return collate(loader(step, cluster.rank, cluster.size))

            trackers = [open_tracker(kind, self.folder, recipe.name) for kind in recipe.trackers if cluster.first]
            cost = estimate(recipe, stage, self.config, cluster.size)
            ready = loop.Stage(
                name=stage.name, config=stage.run, model=self.student,
                optimizer=optimizer_of(self.student, stage.run.optimizer), batch=batch, backward=self._backward,
                after=self.objective.after, seed=recipe.seed, identity=self._identity(), cluster=cluster,
                trackers=trackers, flops=cost.flops_per_pair, keep=forks(recipe, stage),
                peak=matrix_rate(cluster.device, stage.run.bf16), states={"data": _Data(loader)},
                counts=lambda: {"unreadable": sum(loader.skipped.values())} if loader.skipped else {})
            scored = None if evaluate is None else lambda: self._scores(evaluate)
            done = loop.run(ready, self.folder, scored, stop_after)
            if loader.skipped:
                reasons = ", ".join(f"{reason} {count}" for reason, count in loader.skipped.most_common())
                telemetry.notice(f"{stage.name}: records gave way to others because they could not be read: {reasons}")
            return done

    def _scores(self, evaluate: Evaluate) -> Mapping[str, float]:
        towers = self._towers()
        return evaluate(self.embedder(towers)) if self.cluster.first else {}

    def _towers(self) -> TwoTower:
        """The towers as they are now; of shards a copy that is whole, for which all ranks have to ask."""
        if not self.cluster.sharded:
            return self.student.towers
        state = parallel.whole_state(self.student.towers)
        towers = TwoTower(self.config)
        towers.load_state_dict({name: tensor.cpu() for name, tensor in state.items()})
        return towers

    def _decoder(self) -> Decoder | None:
        """The decoder as it is now, if there is one; as `_towers`."""
        decoder = self.student.decoder
        if decoder is None or not self.cluster.sharded:
            return decoder
        state = parallel.whole_state(decoder)
        whole = Decoder(decoder.config)
        whole.load_state_dict({name: tensor.cpu() for name, tensor in state.items()})
        return whole

    def embedder(self, towers: TwoTower) -> TorchEmbedder:
        """The towers with this run's texts and pictures."""
        bias = towers.logit_bias
        spec = EmbedderSpec(
            name=self.recipe.name, fingerprint="in training", dim=towers.dim,
            image_size=self.config.image.image_size, languages=_languages(self.recipe),
            score_kind=self.recipe.loss or "sigmoid", logit_scale=float(towers.logit_scale.detach()),
            logit_bias=0.0 if bias is None else float(bias.detach()), general=self.recipe.general)
        return TorchEmbedder(towers, self.tokenizer, self.preprocessing, spec)

    def write(self, target: Path) -> None:
        """The model, with adapters merged, in our own layout, and its decoder."""
        recipe = self.recipe
        if recipe.lora:
            merge_lora(self.student.towers)
        towers, decoder = self._towers(), self._decoder()
        if not self.cluster.first:
            return
        about = ModelConfig(
            name=recipe.name, towers=self.config, preprocessing=self.preprocessing, tokenizer=self.tokenizer.policy,
            languages=_languages(recipe), score_kind=recipe.loss or "sigmoid", general=recipe.general)
        card = ModelCard(licence="not stated", calibration=None, scores={},
                         data_sha256=sha256_bytes("\n".join(s.fingerprint for s in self.sources).encode()))
        drop_captioner(target)  # one of an earlier model never lies beside a new one
        save_model(target, towers, self.tokenizer, about, card)
        if decoder is not None:
            save_captioner(target, decoder, self._spoken(decoder), CAPTION)
        write_text(target / "recipe.json", to_json(recipe))

    def _backward(self, batch: Batch, step: int) -> Losses:
        if self.stage.curation is not None:
            batch = self._curated(batch, step)
        batch, size = batch.to(self.cluster.device), self.stage.run.micro_batch or len(batch)
        taught = [] if not self.teachers else self._taught(batch)
        return gradient_cache.backward(self.called, lambda found: self.objective(found, taught, step),
                                       batch.parts(size))

    @torch.no_grad()
    def _taught(self, batch: Batch) -> list[tuple[Affinity, ...]]:
        """The teachers' affinities with the captions, and with the synthetic ones where there are any."""
        images = [teacher.encode_image(pixels) for teacher, pixels in zip(self.teachers, batch.taught, strict=False)]
        said = [ids for ids in (batch.taught_ids, batch.synthetic_ids) if ids]
        return [tuple(Affinity(image.float(), teacher.encode_text(ids).float(), torch.tensor(scale))
                      for teacher, image, ids, scale in zip(self.teachers, images, texts, self.scales, strict=False))
                for texts in said]

    @torch.no_grad()
    def _curated(self, batch: Batch, step: int) -> Batch:
        """The part of a larger batch from which there is most to learn."""
        curation, reference = self.stage.curation, self.reference
        assert curation is not None and reference is not None
        keep = self.cluster.share(self.stage.run.batch)
        self.student.eval()
        found = [self.student(part.to(self.cluster.device)) for part in batch.parts(256)]
        self.student.train()
        learner = Scored(
            image=torch.cat([f["image"] for f in found]).cpu().numpy(),
            text=torch.cat([f["text"] for f in found]).cpu().numpy(), logit_scale=float(found[0]["scale"][0]),
            logit_bias=float(found[0]["bias"][0]) if "bias" in found[0] else 0.0)
        pixels, ids = batch.taught[-1], batch.taught_ids[-1]
        bias = reference.logit_bias
        other = Scored(image=reference.encode_image(pixels).float().numpy(),
                       text=reference.encode_text(ids).float().numpy(), logit_scale=float(reference.logit_scale),
                       logit_bias=0.0 if bias is None else float(bias))
        rng = np.random.default_rng([self.recipe.seed, loop.hash_seed(self.stage.name), step, self.cluster.rank])
        chosen = select_embedded(learner, other, keep, min(curation.chunks, keep), rng)
        return batch.rows(np.sort(chosen))

    def _loader(self) -> Loader[Any]:
        recipe, stage = self.recipe, self.stage
        size = stage.run.batch
        if stage.curation:
            size = round(size / stage.curation.keep)
            size -= size % self.cluster.size
        prepare = Prepare(recipe=recipe, stage=stage, preprocessing=self.preprocessing, size=size,
                          teachers=tuple(folders.find(name).entry.preprocessing for name in self.companions))
        read = _decoder(recipe)
        if recipe.cached_image:
            read = locked_features(self.student.towers.image, self.sources, read, self.preprocessing, self.folder)
        return Loader(self.sources, batch=size, seed=recipe.seed + loop.hash_seed(stage.name), transform=prepare,
                      decode=read, workers=recipe.data.workers)

    def _collate(self) -> Collate:
        spoken = None
        if self.student.decoder is not None:
            spoken = Tokenizer(self.tokenizer.vocabulary, self._spoken(self.student.decoder))
        return Collate(stage=self.stage, tokenizer=self.tokenizer, decoder_tokenizer=spoken,
                       teachers=tuple(loading.open_tokenizer(folders.find(name)) for name in self.companions),
                       mean=self.preprocessing.mean, std=self.preprocessing.std)

    def _spoken(self, decoder: Decoder) -> TokenizerPolicy:
        """How the decoder's texts are cut: as the model's, at its own length."""
        return dataclasses.replace(self.tokenizer.policy, length=decoder.config.context_length)

    def _identity(self) -> str:
        parts = [to_json(_until(self.recipe, self.stage)), to_json(self.tokenizer.policy)]
        return sha256_bytes("\n".join(parts).encode())


class _Data:
    """What a checkpoint says of the data: it must still be the same."""

    def __init__(self, loader: Loader[Any]):
        self.loader = loader

    def state_dict(self) -> dict[str, Any]:
        return {"loader": json.dumps(self.loader.state(0))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loader.resume(json.loads(state["loader"]))


def _until(recipe: Recipe, stage: Stage) -> Recipe:
    """The recipe without what comes later, and without what changes no batch and no step."""
    index = recipe.stages.index(stage)
    own = dataclasses.replace(stage, run=dataclasses.replace(stage.run, log_every=1, checkpoint_every=1,
                                                             evaluate_every=1))
    data = dataclasses.replace(recipe.data, workers=0)
    return dataclasses.replace(recipe, stages=(*recipe.stages[:index], own), keep=None, trackers=(), data=data)


@contextmanager
def _alone(folder: Path) -> Generator[None, None, None]:
    """Nobody else writes here meanwhile; the system lets go when this process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CheckpointError(f"another process is training in {folder}; wait for it, end it (a rank goes on when "
                              "torchrun alone is killed), or choose another --to") from error
    try:
        yield
    finally:
        lock.release()


def _claim(folder: Path, recipe: Recipe, cluster: Cluster) -> None:
    """The resolved recipe lies beside everything it makes."""
    path = folder / "recipe.json"
    if path.exists():
        try:
            before = from_dict(Recipe, json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise CheckpointError(f"{path} is of another kind of run or of another version ({error}); choose another "
                                  "--to") from error
        begun = [stage for stage in before.stages if (folder / f"{stage.name}.pt").exists()]
        for stage in begun:
            name = stage.name
            if name not in [s.name for s in recipe.stages] or _until(before, stage) != _until(recipe,
                                                                                             recipe.stage(name)):
                raise CheckpointError(f"{folder} holds a run of another configuration (see {path}); choose another "
                                      "--to, or delete it")
    if cluster.first:
        write_text(path, to_json(recipe))


def _source(source: SourceConfig, recipe: Recipe) -> ShardedSource:
    found = corpus.shards(recipe.data.languages) if source.paths == (PICTOGRAMS,) else open_shards(source.paths)
    return ShardedSource(name=source.name, shards=tuple(found), weight=source.weight, window=source.window)


def _decoder(recipe: Recipe) -> Callable[[bytes], Picture]:
    drawn = any(source.paths == (PICTOGRAMS,) for source in recipe.data.sources)
    return _either if drawn else decode


def _either(data: bytes) -> Picture:
    """A drawing as it is cut out, anything else as a picture."""
    return corpus.cutout(data) if data[:4] == b"RIFF" and len(data) < 1 << 16 else decode(data)


def _languages(recipe: Recipe) -> tuple[str, ...]:
    """What the model is said to understand: what it did before, or what it learned from."""
    return folders.find(recipe.start_from).entry.languages if recipe.start_from else recipe.data.languages


def _companion(name: str) -> TwoTower:
    """A model that teaches and does not learn."""
    telemetry.notice(f"learning from {name}")
    return loading.load_towers(name).eval().requires_grad_(False)
