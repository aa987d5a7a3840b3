"""open_clip's entry points over our towers, for code that was written against open_clip.

    model, preprocess_train, preprocess_val = create_model_and_transforms("ViT-B-16-SigLIP2", pretrained="webli")
    tokenizer = get_tokenizer("ViT-B-16-SigLIP2")
    features = model.encode_image(preprocess_val(picture)[None], normalize=True)

Shapes, names and defaults are open_clip's: features are not normalised unless asked for, `logit_scale` is the
logarithm, texts come out as full-length ids. Numbers are ours: the catalogue's activation and preprocessing, which for
SigLIP are its authors' and not open_clip's (docs/models.md). New code is better off with `diptych.load_model`. Left
out: jit, caches of its own, captioning decoders.
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
    model_name: str, pretrained: str | None = None, precision: str = "fp32", device: str | torch.device = "cpu",
    force_image_size: int | None = None,
) -> tuple[OpenClipModel, Transform, Transform]:
    """Model, training transform and evaluation transform, as `open_clip.create_model_and_transforms`.

    `pretrained` is a tag of open_clip's ("laion2b_s34b_b79k") or a file of weights of that architecture; None gives
    random weights. `model_name` may be any name of the catalogue, "hf-hub:org/repo", or "local-dir:folder".
    ModelNotFound when the weights are not on this machine.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is 'fp32' or 'bf16', got {precision!r}")
    schema, _, rest = model_name.partition(":")
    if schema == "local-dir":
        entry, towers = loading.open_towers(folders.find(rest), force_image_size)
    elif pretrained is None and schema != "hf-hub":
        entry = _entry(model_name, None)
        towers = TwoTower(entry.towers)
    elif pretrained is not None and Path(pretrained).expanduser().exists():
        entry, towers = loading.open_towers(folders.find(pretrained, like=_entry(model_name, None).name),
                                            force_image_size)
    else:
        entry, towers = loading.open_towers(folders.find(_entry(model_name, pretrained).name), force_image_size)
    if not isinstance(entry.preprocessing, Preprocessing):
        raise ValueError(f"{entry.name} takes pictures at their own aspect ratio, which open_clip's transforms cannot "
                         "say; use diptych.load_model")
    model = OpenClipModel(towers.requires_grad_()).eval().to(device)
    if precision == "bf16":
        model = model.bfloat16()
    square = entry.preprocessing
    return model, _training(square), lambda picture: torch.from_numpy(preprocess(as_picture(picture), square))


def get_tokenizer(
    model_name: str, context_length: int | None = None
) -> Callable[[str | Sequence[str]], Int[Tensor, "n len"]]:
    """Texts to full-length ids, as `open_clip.get_tokenizer`. ModelNotFound when the tokenizer is not here."""
    schema, _, rest = model_name.partition(":")
    tokenizer = _tokenizer(rest if schema == "local-dir" else None, model_name)
    if context_length is not None:
        tokenizer = Tokenizer(tokenizer.backend, replace(tokenizer.policy, length=context_length))

    def encode(texts: str | Sequence[str]) -> Int[Tensor, "n len"]:
        return torch.from_numpy(tokenizer.encode([texts] if isinstance(texts, str) else texts))

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


def _tokenizer(folder: str | None, model_name: str) -> Tokenizer:
    if folder is not None:
        return loading.open_tokenizer(folders.find(folder))
    first = _entry(model_name, None)
    policy = first.tokenizer
    for entry in (first, *(e for e in catalog.CATALOGUE if e.tokenizer == policy)):
        folder_of = folders.models_folder() / entry.name
        same_file = entry.tokenizer_repo == first.tokenizer_repo and entry.towers.text == first.towers.text
        if (entry is first or same_file) and (path := folders.tokenizer_in(folder_of)):
            return Tokenizer.from_file(path, policy)
    raise ModelNotFound(f"no tokenizer of {model_name} on this machine; get it with `diptych models pull {first.name}`")


def _training(square: Preprocessing) -> Transform:
    """A random crop of 0.9 to 1 of the area, squashed to the square (torchvision's RandomResizedCrop)."""
    size, filter_ = square.size, Image.Resampling[square.interpolation.upper()]

    def transform(picture: Picture) -> Tensor:
        picture = as_picture(picture)
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
