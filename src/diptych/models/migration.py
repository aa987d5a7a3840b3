"""open_clip's entry points over our towers, for code that was written against open_clip.

    model, preprocess_train, preprocess_val = create_model_and_transforms("ViT-B-16-SigLIP2", pretrained="webli")
    tokenizer = get_tokenizer("ViT-B-16-SigLIP2")
    features = model.encode_image(preprocess_val(picture)[None], normalize=True)

Shapes, names and defaults are open_clip's: features are not normalised unless asked for, `logit_scale` is the
logarithm, texts come out as full-length ids. Numbers are ours: the catalogue's activation and preprocessing, which for
SigLIP are its authors' and not open_clip's (docs/checkpoints.md). New code is better off with `diptych.load_model`.
Here are: the three functions, `encode_image`, `encode_text`, `forward`, `logit_scale`, `logit_bias`. Left out: what
reaches into open_clip's modules (`visual`, `lock_image_tower` …), jit, its caches, captioning decoders.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from diptych.core.errors import ModelNotFound
from diptych.core.types import Picture
from diptych.inputs.image import Preprocessing, as_picture, preprocess
from diptych.inputs.tokenizer import Tokenizer
from diptych.models.checkpoints import catalog, folders, loading
from diptych.models.checkpoints.entry import Entry
from diptych.models.config import Activation, TextConfig, VitConfig
from diptych.models.resize import resize
from diptych.models.two_tower import TwoTower

Transform = Callable[[Picture], Tensor]

_SCALE, _RATIO = (0.9, 1.0), (3 / 4, 4 / 3)
"""Of the training crop: area, and aspect ratio. open_clip's defaults."""


class OpenClipModel(nn.Module):
    """A `TwoTower` with open_clip's methods. `towers` is ours."""

    def __init__(self, towers: TwoTower):
        super().__init__()
        self.towers = towers

    @property
    def logit_scale(self) -> nn.Parameter:
        """The logarithm of the scale, as open_clip has it."""
        return self.towers.log_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """The bias, or None."""
        return self.towers.logit_bias

    def encode_image(self, image: Float[Tensor, "batch 3 height width"],
                     normalize: bool = False) -> Float[Tensor, "batch embed"]:
        """Features of pictures, of unit norm if `normalize`."""
        features = self.towers.image(image)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Int[Tensor, "batch len"], normalize: bool = False) -> Float[Tensor, "batch embed"]:
        """Features of texts, of unit norm if `normalize`."""
        features = self.towers.text(text)
        return F.normalize(features, dim=-1) if normalize else features

    def forward(
        self, image: Float[Tensor, "batch 3 height width"], text: Int[Tensor, "texts len"]
    ) -> tuple[Tensor, ...]:
        """Unit features of pictures, of texts, the scale (exponentiated), and the bias where there is one."""
        found = (self.encode_image(image, True), self.encode_text(text, True), self.towers.logit_scale)
        return found if self.logit_bias is None else (*found, self.logit_bias)


def create_model_and_transforms(
    model_name: str, pretrained: str | None = None, *, precision: str = "fp32", device: str | torch.device = "cpu",
    force_image_size: int | None = None,
) -> tuple[OpenClipModel, Transform, Transform]:
    """Model, training transform and evaluation transform, as `open_clip.create_model_and_transforms`.

    `pretrained` is a tag of open_clip's ("laion2b_s34b_b79k") or a file of weights of that architecture; None gives
    random weights. `model_name` may be any name of the catalogue, "hf-hub:org/repo" or "local-dir:folder", which say
    all by themselves. For random weights and files the activation is QuickGELU only if the name ends in "-quickgelu",
    as there. ModelNotFound when the weights are not on this machine.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is 'fp32' or 'bf16', got {precision!r}")
    schema, _, rest = model_name.partition(":")
    pretrained = pretrained or None
    if schema == "local-dir":
        entry, towers = loading.open_towers(folders.find(rest), force_image_size)
    elif schema == "hf-hub":
        entry, towers = loading.open_towers(folders.find(_entry(rest, None).name), force_image_size)
    elif pretrained is not None and (tagged := _tagged(model_name, pretrained)):
        entry, towers = loading.open_towers(folders.find(tagged.name), force_image_size)
    elif pretrained is not None and Path(pretrained).expanduser().is_file():
        like = _architecture(model_name)
        found = replace(folders.find(pretrained, like=f"{_bare(model_name)}::{_tag_of(like, model_name)}"), entry=like)
        entry, towers = loading.open_towers(found, force_image_size)
    elif pretrained is not None:
        entry = catalog.get(f"{model_name}::{pretrained}")  # says which is the nearest
        towers = TwoTower(entry.towers)
    else:
        entry = _architecture(model_name)
        towers = TwoTower(entry.towers)
        if force_image_size is not None:
            state, config = resize(towers.state_dict(), entry.towers, force_image_size)
            towers, square = TwoTower(config), replace(entry.preprocessing, size=force_image_size)
            towers.load_state_dict(state)
            entry = replace(entry, towers=config, preprocessing=square)
    if not isinstance(entry.preprocessing, Preprocessing):
        raise ValueError(f"{entry.name} takes pictures at their own aspect ratio, which open_clip's transforms cannot "
                         "say; use diptych.load_model")
    model = OpenClipModel(towers.requires_grad_()).eval().to(device)
    if precision == "bf16":
        model = model.bfloat16()
    square = entry.preprocessing
    return model, _training(square), lambda picture: torch.from_numpy(
        preprocess(as_picture(picture, max_side=None), square))


def get_tokenizer(
    model_name: str, context_length: int | None = None
) -> Callable[..., Int[Tensor, "n len"]]:
    """Texts to full-length ids, as `open_clip.get_tokenizer`. ModelNotFound when the tokenizer is not here."""
    schema, _, rest = model_name.partition(":")
    tokenizer = _tokenizer(rest if schema == "local-dir" else None, model_name)
    if context_length is not None:
        tokenizer = Tokenizer(tokenizer.backend, replace(tokenizer.policy, length=context_length))

    def encode(texts: str | Sequence[str], context_length: int | None = None) -> Int[Tensor, "n len"]:
        length = context_length or tokenizer.policy.length
        cut = Tokenizer(tokenizer.backend, replace(tokenizer.policy, length=length))
        return torch.from_numpy(cut.encode([texts] if isinstance(texts, str) else texts))

    return encode


def list_pretrained() -> list[tuple[str, str]]:
    """(architecture, tag) of every model of the catalogue that open_clip has too."""
    pairs = (alias.split("::") for entry in catalog.CATALOGUE for alias in entry.aliases if "::" in alias)
    return sorted((arch, tag) for arch, tag in pairs)


def _entry(model_name: str, tag: str | None) -> Entry:
    """The catalogue's entry of an architecture and a tag; any of that architecture without a tag."""
    name = model_name.removeprefix("hf-hub:")
    if tag is not None:
        return catalog.get(f"{name}::{tag}")
    if entry := catalog.find(name):
        return entry
    prefix = f"{name}::".lower()
    same = [e for e in catalog.CATALOGUE if any(alias.lower().startswith(prefix) for alias in e.aliases)]
    if not same:
        known = ", ".join(sorted({arch for arch, _ in list_pretrained()}))
        raise ModelNotFound(f"no architecture {name!r} in the catalogue; there are: {known}")
    return same[0]


def _tagged(model_name: str, tag: str) -> Entry | None:
    """The entry of an architecture and a tag, in whichever way open_clip lets them be written."""
    names = (model_name, model_name.replace("/", "-"))
    return next((e for name in names for t in (tag, tag.lower().replace("-", "_"))
                 if (e := catalog.find(f"{name}::{t}"))), None)


def _bare(model_name: str) -> str:
    return model_name.removesuffix("-quickgelu").replace("/", "-")


def _tag_of(entry: Entry, model_name: str) -> str:
    """A tag under which open_clip has the architecture with this entry."""
    prefix = f"{_bare(model_name)}::".lower()
    return next((a.split("::")[1] for a in entry.aliases if a.lower().startswith(prefix)), entry.name)


def _architecture(model_name: str) -> Entry:
    """An entry of that architecture, with the activation that open_clip gives to the name."""
    entry = _entry(_bare(model_name), None)
    towers, quick = entry.towers, model_name.endswith("-quickgelu")
    act: Activation = "quick_gelu" if quick else "gelu"
    if isinstance(towers.image, VitConfig) and (quick or towers.image.activation == "quick_gelu"):
        towers = replace(towers, image=replace(towers.image, activation=act))
    if isinstance(towers.text, TextConfig) and (quick or towers.text.activation == "quick_gelu"):
        towers = replace(towers, text=replace(towers.text, activation=act))
    return replace(entry, towers=towers)


def _tokenizer(folder: str | None, model_name: str) -> Tokenizer:
    if folder is not None:
        return loading.open_tokenizer(folders.find(folder))
    first = _entry(model_name, None)
    policy = first.tokenizer
    for entry in (first, *(e for e in catalog.CATALOGUE if e.tokenizer == policy)):
        folder_of = folders.models_folder() / entry.name
        same_file = entry.towers.text.vocab_size == first.towers.text.vocab_size
        if (entry is first or same_file) and (path := folders.tokenizer_in(folder_of)):
            return Tokenizer.from_file(path, policy)
    raise ModelNotFound(f"no tokenizer of {model_name} on this machine; get it with `diptych models pull {first.name}`")


def _training(square: Preprocessing) -> Transform:
    """A random crop of 0.9 to 1 of the area, squashed to the square (torchvision's RandomResizedCrop)."""
    size, filter_ = square.size, Image.Resampling[square.interpolation.upper()]

    def transform(picture: Picture) -> Tensor:
        picture = as_picture(picture, max_side=None)
        width, height = picture.size
        for _ in range(10):
            area = width * height * random.uniform(*_SCALE)
            ratio = float(np.exp(random.uniform(*np.log(_RATIO))))
            wide, high = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if 0 < wide <= width and 0 < high <= height:
                left, top = random.randint(0, width - wide), random.randint(0, height - high)
                picture = picture.crop((left, top, left + wide, top + high))
                break
        resized = picture.resize((size, size), filter_)
        return torch.from_numpy(preprocess(resized, square))

    return transform
