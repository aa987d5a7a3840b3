"""timm's FastViT as it stands in open_clip's files, under `visual.trunk.`: to our tower's tensors and back.

A file keeps the branches of training: a convolution is a sum of several, each with a BatchNorm, and residual branches
have scales. Reading goes through `merge`, which makes one convolution of them, as timm's own `reparameterize` does
(arXiv 2206.04040 §3.2, 2303.14189 §3.2), in float64 and rounded once; files in which timm has done so are read too.
Writing goes through `split`: the first branch holds all, and the others are zero. Between the two, the keys are timm's,
with `reparam_conv` where branches were.

Another spelling of these keys (Apple's, see mobileclip.py) is a function from a key of timm's to the file's.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.models.checkpoints.maps.batch_norm import idle, take, take_affine
from diptych.models.checkpoints.maps.keys import Names, Shape, one
from diptych.models.config import FastVitConfig
from diptych.models.fastvit import FastVit

EPS = 1e-5
Spelling: TypeAlias = Callable[[str], str]


def open_clip_spelling(key: str) -> str:
    """A key of timm's FastViT in open_clip's files."""
    return f"visual.trunk.{key}"


class Branched(NamedTuple):
    """A convolution of ours, the module at which its branches lie, and the size of each branch's kernel.

    `identity`: one more branch is a BatchNorm alone.
    """

    ours: str
    at: str
    kernels: Mapping[str, int]
    identity: bool = False


def names(config: FastVitConfig, spell: Spelling = open_clip_spelling) -> Names:
    """Each tensor of our picture tower with its key in merged weights."""
    modules = {"gate.fc1": "final_conv.se.fc1", "gate.fc2": "final_conv.se.fc2", "projection": "head.fc"}
    modules |= {conv.ours: f"{conv.at}.reparam_conv" for conv in _branched(config)}
    modules |= {f"{block}.mixer": f"{block}.token_mixer.reparam_conv" for block in _blocks(config, attends=False)}
    modules |= {ours: theirs for ours, theirs, _ in _scaled(config)}
    modules |= {f"{block}.mlp.fc1": f"{block}.mlp.fc1" for block in _blocks(config)}
    modules |= {f"{block}.norm": f"{block}.norm" for block in _blocks(config, attends=True)}
    for stage in range(len(config.widths)):
        here = f"stages.{stage}"
        if config.attends(stage):
            modules[f"{here}.position"] = f"{here}.pos_emb.pos_enc"
        if config.gated(stage):
            modules |= {f"{here}.downsample.gate.{fc}": f"{here}.downsample.proj.0.se.{fc}" for fc in ("fc1", "fc2")}
    tensors = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in modules.items() for kind in ("weight", "bias")}
    tensors |= {f"{block}.in_proj.weight": f"{block}.token_mixer.qkv.weight" for block in _blocks(config, attends=True)}
    return {f"image.{ours}": one(spell(theirs)) for ours, theirs in tensors.items()}


def merge(published: Mapping[str, Tensor], config: FastVitConfig,
          spell: Spelling = open_clip_spelling) -> dict[str, Tensor]:
    """The weights with branches, BatchNorms and scales merged into the convolutions, in float32; other keys as they
    are. CheckpointError names a tensor that is missing or misshapen."""
    rest, merged, shapes = dict(published), dict[str, Tensor](), _shapes(config)

    def put(module: str, kernel: Tensor, bias: Tensor) -> None:
        merged[spell(f"{module}.weight")], merged[spell(f"{module}.bias")] = kernel.float(), bias.float()

    for conv in _branched(config):
        if spell(f"{conv.at}.reparam_conv.weight") not in rest:
            put(f"{conv.at}.reparam_conv", *_sum(rest, conv, shapes[f"{conv.ours}.weight"], spell))
    for block in _blocks(config, attends=False):
        at, shape = f"{block}.token_mixer", shapes[f"{block}.mixer.weight"]
        if spell(f"{at}.reparam_conv.weight") not in rest:
            gain = take(rest, spell(f"{at}.layer_scale.gamma"), (shape[0], 1, 1))[..., None]
            (kernel, bias), (norm, norm_bias) = (_sum(rest, conv, shape, spell) for conv in _mixer(at))
            # in this order: an identity less an identity is exactly zero (see `split`)
            put(f"{at}.reparam_conv", gain * kernel + (_identity(shape) - gain * norm),
                gain.flatten() * (bias - norm_bias))
    for ours, theirs, scale in _scaled(config):
        shape = shapes[f"{ours}.weight"]
        gain = take(rest, spell(scale), (shape[0], 1, 1)).flatten()
        weight, bias = (take(rest, spell(f"{theirs}.{kind}"), shapes[f"{ours}.{kind}"]) for kind in ("weight", "bias"))
        put(theirs, weight * gain.reshape(-1, *[1] * (len(shape) - 1)), bias * gain)
    if config.attention_norm == "affine":
        for block in _blocks(config, attends=True):
            put(f"{block}.norm", *take_affine(rest, spell(f"{block}.norm"), shapes[f"{block}.norm.weight"][0], EPS))
    for stage in filter(config.attends, range(len(config.widths))):
        whole, alone = (f"stages.{stage}.pos_emb.{name}" for name in ("reparam_conv", "pos_enc"))
        if spell(f"{whole}.weight") in rest:  # timm has merged the residual, which we keep outside
            shape = shapes[f"stages.{stage}.position.weight"]
            put(alone, take(rest, spell(f"{whole}.weight"), shape) - _identity(shape),
                take(rest, spell(f"{whole}.bias"), shape[:1]))
    return rest | merged


def split(merged: Mapping[str, Tensor], config: FastVitConfig,
          spell: Spelling = open_clip_spelling) -> dict[str, Tensor]:
    """Merged weights as published for training, so that timm loads them strictly.

    The inverse of `merge` for float32 weights, to the last bit.
    """
    published, found = dict(merged), dict[str, Tensor]()
    for conv in _branched(config):
        weight, bias = (published.pop(spell(f"{conv.at}.reparam_conv.{kind}")) for kind in ("weight", "bias"))
        found |= _spread(conv, weight, bias)
    for block in _blocks(config, attends=False):
        at = f"{block}.token_mixer"
        weight, bias = (published.pop(spell(f"{at}.reparam_conv.{kind}")) for kind in ("weight", "bias"))
        mixer, norm = _mixer(at)
        found |= _spread(mixer, weight, bias)
        # x + 1 · (mixer(x) − x): what is taken away is the residual itself
        found |= idle(f"{norm.at}.identity", torch.zeros_like(bias), EPS)
        found[f"{at}.layer_scale.gamma"] = torch.ones_like(bias)[:, None, None]
    for _, theirs, scale in _scaled(config):
        found[scale] = torch.ones_like(published[spell(f"{theirs}.bias")])[:, None, None]
    if config.attention_norm == "affine":
        for block in _blocks(config, attends=True):
            weight, bias = (published.pop(spell(f"{block}.norm.{kind}")) for kind in ("weight", "bias"))
            found |= idle(f"{block}.norm", bias, EPS) | {f"{block}.norm.weight": weight}
    return published | {spell(key): tensor for key, tensor in found.items()}


def _branched(config: FastVitConfig) -> list[Branched]:
    """Every convolution that was trained in branches, but for RepMixer's."""
    one_by_one, stem_scale = {"conv_kxk.0": 1}, {"conv_scale": 1} if config.stem_scale else {}
    found = [
        Branched("stem.full", "stem.0", {"conv_kxk.0": 3, **stem_scale}),
        Branched("stem.depthwise", "stem.1", {"conv_kxk.0": 3, **stem_scale}),
        Branched("stem.pointwise", "stem.2", one_by_one, identity=True),
        Branched("expand", "final_conv", {"conv_kxk.0": 3, "conv_scale": 1}),
    ]
    for stage in range(1, len(config.widths)):
        ours, theirs = f"stages.{stage}.downsample", f"stages.{stage}.downsample.proj"
        found += [Branched(f"{ours}.large", f"{theirs}.0", {"large_conv": 7, "small_conv": 3}),
                  Branched(f"{ours}.pointwise", f"{theirs}.1", one_by_one, identity=True)]
    return found + [Branched(f"{block}.mlp.depthwise", f"{block}.mlp", {"conv": 7}) for block in _blocks(config)]


def _mixer(at: str) -> tuple[Branched, Branched]:
    """RepMixer's two convolutions; it adds their difference, scaled, to what came in."""
    return (Branched("", f"{at}.mixer", {"conv_kxk.0": 3, "conv_scale": 1}, identity=True),
            Branched("", f"{at}.norm", {}, identity=True))


def _blocks(config: FastVitConfig, attends: bool | None = None) -> list[str]:
    """The blocks, whose names are timm's too; only those with attention, or without, on demand."""
    return [f"stages.{stage}.blocks.{block}" for stage, depth in enumerate(config.depths)
            if attends in (None, config.attends(stage)) for block in range(depth)]


def _scaled(config: FastVitConfig) -> list[tuple[str, str, str]]:
    """The last layer of each residual branch: our name, timm's, and that of its scale."""
    mixers, attention = _blocks(config, attends=False), _blocks(config, attends=True)
    return [
        *((f"{block}.mlp.fc2", f"{block}.mlp.fc2", f"{block}.layer_scale.gamma") for block in mixers),
        *((f"{block}.out_proj", f"{block}.token_mixer.proj", f"{block}.layer_scale_1.gamma") for block in attention),
        *((f"{block}.mlp.fc2", f"{block}.mlp.fc2", f"{block}.layer_scale_2.gamma") for block in attention),
    ]


def _shapes(config: FastVitConfig) -> dict[str, Shape]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in FastVit(config).state_dict().items()}


def _sum(rest: dict[str, Tensor], conv: Branched, shape: Shape,
         spell: Spelling) -> tuple[Float[Tensor, "out in k k"], Float[Tensor, " out"]]:
    """All branches as one convolution, in float64; their tensors are taken out of `rest`."""
    kernel, bias = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape[0], dtype=torch.float64)
    for branch, size in conv.kernels.items():
        weight = take(rest, spell(f"{conv.at}.{branch}.conv.weight"), (*shape[:2], size, size))
        gain, shift = take_affine(rest, spell(f"{conv.at}.{branch}.bn"), shape[0], EPS)
        kernel += F.pad(weight * gain[:, None, None, None], [(shape[-1] - size) // 2] * 4)
        bias += shift
    if conv.identity:
        gain, shift = take_affine(rest, spell(f"{conv.at}.identity"), shape[0], EPS)
        kernel += _identity(shape) * gain[:, None, None, None]
        bias += shift
    return kernel, bias


def _spread(conv: Branched, weight: Float[Tensor, "out in k k"], bias: Float[Tensor, " out"]) -> dict[str, Tensor]:
    """One convolution as branches of which the first holds all."""
    found: dict[str, Tensor] = {}
    nothing = torch.zeros_like(bias)
    for i, (branch, size) in enumerate(conv.kernels.items()):
        at = f"{conv.at}.{branch}"
        found |= idle(f"{at}.bn", nothing if i else bias, EPS)
        found[f"{at}.conv.weight"] = weight.new_zeros(*weight.shape[:2], size, size) if i else weight
    if conv.identity:
        found |= idle(f"{conv.at}.identity", nothing, EPS) | {f"{conv.at}.identity.weight": nothing}
    return found


def _identity(shape: Shape) -> Float[Tensor, "out in k k"]:
    """The kernel of that shape, of one group or of one group a channel, that changes nothing."""
    kernel, channels = torch.zeros(shape, dtype=torch.float64), torch.arange(shape[0])
    kernel[channels, channels % shape[1], shape[2] // 2, shape[3] // 2] = 1.0
    return kernel
