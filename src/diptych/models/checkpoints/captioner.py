"""The decoder of a training run, kept beside its model: pictures in, captions out.

`decoder.json` and `decoder.safetensors` (half precision, as the towers) lie in the model's folder. They are no part of
its fingerprint, because they change no vector; they name the fingerprint of the model whose pictures they read. A
caption is the likeliest next token again and again; beam search and sampling are not here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from diptych.core.config import from_dict, to_json
from diptych.core.errors import CheckpointError
from diptych.core.files import atomic_write, write_text
from diptych.inputs.image import PictureLike
from diptych.inputs.naflex import NaflexBatch
from diptych.inputs.text import clean
from diptych.inputs.tokenizer import Tokenizer, TokenizerPolicy
from diptych.models.checkpoints import native, reader
from diptych.models.config import NaflexConfig, VitConfig
from diptych.models.decoder import Decoder, DecoderConfig
from diptych.models.embedder import TorchEmbedder, prepare
from diptych.models.engine import Pixels
from diptych.models.layers import Memory
from diptych.models.naflex import NaflexVit, PackedPatches
from diptych.models.two_tower import ImageTower
from diptych.models.vit import Vit

CONFIG, WEIGHTS = "decoder.json", "decoder.safetensors"
BLOCK = 32
"""Pictures that are described at a time."""


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig:
    """`decoder.json`. `model` is the fingerprint of the model that it reads, `tokenizer` the model's policy with the
    decoder's length, `prompt` what a caption is asked for with."""

    model: str
    decoder: DecoderConfig
    tokenizer: TokenizerPolicy
    prompt: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Captioner:
    """A decoder in evaluation mode with the model whose pictures it reads, in float32 whatever the model's runtime."""

    embedder: TorchEmbedder
    decoder: Decoder
    tokenizer: Tokenizer
    prompt: str

    @torch.inference_mode()
    def describe(self, pictures: Sequence[PictureLike]) -> list[str]:
        """A caption of each picture, as the model was taught to write them; "" where it says nothing. PictureError for
        a file that cannot be read."""
        policy = self.tokenizer.policy
        asked = self.tokenizer.vocabulary.ids([clean(self.prompt, policy.cleaning)])[0]
        said: list[str] = []
        for start in range(0, len(pictures), BLOCK):
            pixels = prepare(pictures[start : start + BLOCK], self.embedder.preprocessing)
            memory = _memory(self.embedder.towers.image, pixels)
            prompt = torch.tensor(asked, dtype=torch.long).expand(len(memory.tokens), -1)
            ids = self.decoder.predict(memory, eos_id=-1 if policy.eos_id is None else policy.eos_id,
                                       pad_id=policy.pad_id, prompt=prompt)
            said += self.tokenizer.decode(ids[:, len(asked) :].numpy())
        return said


def save_captioner(folder: Path, decoder: Decoder, tokenizer: TokenizerPolicy, prompt: str) -> None:
    """Write the decoder beside the model that lies in `folder`, whole."""
    config = CaptionerConfig(model=native.fingerprint(folder), decoder=decoder.config, tokenizer=tokenizer,
                             prompt=prompt)
    weights = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in decoder.state_dict().items()}
    with atomic_write(folder / WEIGHTS) as stream:
        stream.write(save(weights))
    write_text(folder / CONFIG, to_json(config))


def drop_captioner(folder: Path) -> None:
    """Take away a decoder that is no longer the model's."""
    for name in (CONFIG, WEIGHTS):
        (folder / name).unlink(missing_ok=True)


def has_captioner(folder: Path) -> bool:
    """Whether a decoder lies there."""
    return (folder / CONFIG).is_file()


def open_captioner(folder: Path, embedder: TorchEmbedder) -> Captioner:
    """The decoder in `folder`, with its model. CheckpointError when there is none, when it is damaged, and when it was
    trained with another model than `embedder`."""
    place = folder / CONFIG
    if not place.is_file():
        raise CheckpointError(f"{folder} has no decoder ({CONFIG}): `diptych train` keeps one where the recipe has "
                              "`decoder` and the stage that comes out trains it")
    try:
        config = from_dict(CaptionerConfig, json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{place} is damaged ({error}); train the model again, or delete it") from error
    if config.model != embedder.spec.fingerprint:
        raise CheckpointError(f"{place} was trained with the model of fingerprint {config.model[:12]} and does not fit "
                              f"{embedder.spec.name}, {embedder.spec.fingerprint[:12]}; put it beside its own model, "
                              f"or delete {CONFIG} and {WEIGHTS}")
    image = embedder.towers.config.image
    if not isinstance(image, VitConfig | NaflexConfig) or image.width != config.decoder.memory_width:
        raise CheckpointError(f"{place} reads tokens of width {config.decoder.memory_width}, and the picture tower of "
                              f"{embedder.spec.name} gives none; delete it")
    decoder = Decoder(config.decoder)
    weights = reader.read_weights(folder / WEIGHTS)
    reader.check_finite(weights, folder / WEIGHTS)
    try:
        decoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(f"{folder / WEIGHTS} does not fit {CONFIG}: {error}") from error
    return Captioner(embedder=embedder, decoder=decoder.eval().requires_grad_(False), prompt=config.prompt,
                     tokenizer=Tokenizer(embedder.tokenizer.vocabulary, config.tokenizer))


def _memory(tower: ImageTower, pixels: Pixels) -> Memory:
    """The tokens that a decoder reads."""
    if isinstance(tower, NaflexVit) and isinstance(pixels, NaflexBatch):
        patches = PackedPatches(torch.from_numpy(pixels.patches), torch.from_numpy(pixels.grids))
        return tower.features_and_memory(patches)[1]
    assert isinstance(tower, Vit) and not isinstance(pixels, NaflexBatch)
    return tower.features_and_memory(torch.from_numpy(pixels))[1]
