"""OpenAI's CLIPs, and what all models built like them share: towers by size, preprocessing, tokenizer, files.

arXiv 2103.00020. The sizes are named as open_clip names them. OpenAI's weights were trained with QuickGELU, and so were
some that came after; "gelu" is the exact one, with erf.
"""

from dataclasses import dataclass, replace
from typing import Literal

from diptych.core.types import Calibration
from diptych.inputs.image import Preprocessing
from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.checkpoints.entry import (
    COCO,
    FLICKR,
    IMAGENET,
    MEAN_38,
    XM3600,
    Check,
    Entry,
    Layout,
    Score,
    Weights,
    scores,
)
from diptych.models.config import Activation, ResNetConfig, TextConfig, TwoTowerConfig, VitConfig

OPEN_CLIP_RESULTS = "open_clip, docs/openclip_results.csv and openclip_retrieval_results.csv (89fb801)"
MULTILINGUAL_RESULTS = "open_clip, docs/openclip_multilingual_retrieval_results.csv (89fb801)"

CLIP_TOKENS = TokenizerPolicy(length=77, cleaning="clip", pad_id=0, eos_id=49_407, bos_id=49_406)
CLIP_TOKENIZER = "openai/clip-vit-base-patch32"
"""Where CLIP's tokenizer.json is, for the repositories without one."""

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)

# softmax has no absolute score: 0.28 is where LAION-5B, with OpenAI's ViT-B/32, drew the line between a text that fits
# its picture and one that does not (arXiv 2210.08402); 100 is that model's own scale. Nobody has published such a line
# for the others, which were trained with the same loss to about the same scale: for them it is a rule of thumb.
CUTOFF = Calibration(scale=100.0, bias=-28.0, cutoff=0.5)


def clip_pixels(size: int = 224) -> Preprocessing:
    """CLIP's preprocessing: the shorter side scaled to `size`, and the middle."""
    return Preprocessing(size=size, policy="shortest_crop", interpolation="bicubic", mean=CLIP_MEAN, std=CLIP_STD)


def clip_text(width: int, layers: int, heads: int, embed: int, activation: Activation = "gelu") -> TextConfig:
    """CLIP's text tower: causal, the state at the end token, projected to `embed`."""
    return TextConfig(
        vocab_size=49_408, context_length=77, width=width, layers=layers, heads=heads, mlp_width=4 * width,
        activation=activation, causal=True, pool="argmax", eos_id=49_407, projection=embed, projection_bias=False,
        norm_eps=1e-5)


def clip_vit(patch_size: int, width: int, layers: int, heads: int, mlp_width: int, embed: int, image_size: int = 224,
             activation: Activation = "gelu") -> VitConfig:
    """CLIP's picture tower: the state of the class token, projected to `embed`."""
    return VitConfig(
        image_size=image_size, patch_size=patch_size, width=width, layers=layers, heads=heads, mlp_width=mlp_width,
        pool="cls", activation=activation, pre_norm=True, patch_bias=False, projection=embed, norm_eps=1e-5)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Both towers of a size, with the exact GELU, and the number of their parameters."""

    image: VitConfig | ResNetConfig
    text: TextConfig
    parameters: int

    def towers(self, activation: Activation = "gelu") -> TwoTowerConfig:
        """The towers with that activation; a ResNet keeps its ReLU."""
        image, text = self.image, replace(self.text, activation=activation)
        if isinstance(image, VitConfig):
            image = replace(image, activation=activation)
        return TwoTowerConfig(image=image, text=text, init_logit_scale=1 / 0.07, init_logit_bias=None)


_B_TEXT, _L_TEXT, _H_TEXT = clip_text(512, 12, 8, 512), clip_text(768, 12, 12, 768), clip_text(1024, 24, 16, 1024)
B32 = Size(image=clip_vit(32, 768, 12, 12, 3072, 512), text=_B_TEXT, parameters=151_277_313)
B32_256 = Size(image=clip_vit(32, 768, 12, 12, 3072, 512, 256), text=_B_TEXT, parameters=151_288_833)
B16 = Size(image=clip_vit(16, 768, 12, 12, 3072, 512), text=_B_TEXT, parameters=149_620_737)
B16_PLUS = Size(image=clip_vit(16, 896, 12, 14, 3584, 640, 240), text=clip_text(640, 12, 10, 640),
                parameters=208_377_345)
L14 = Size(image=clip_vit(14, 1024, 24, 16, 4096, 768), text=_L_TEXT, parameters=427_616_513)
L14_336 = Size(image=clip_vit(14, 1024, 24, 16, 4096, 768, 336), text=_L_TEXT, parameters=427_944_193)
H14 = Size(image=clip_vit(14, 1280, 32, 16, 5120, 1024), text=_H_TEXT, parameters=986_109_441)
H14_378 = Size(image=clip_vit(14, 1280, 32, 16, 5120, 1024, 378), text=_H_TEXT, parameters=986_714_881)
G14 = Size(image=clip_vit(14, 1408, 40, 16, 6144, 1024), text=_H_TEXT, parameters=1_366_678_273)
BIG_G14 = Size(image=clip_vit(14, 1664, 48, 16, 8192, 1280), text=clip_text(1280, 32, 20, 1280),
               parameters=2_539_567_105)
RN50 = Size(image=ResNetConfig(), text=clip_text(512, 12, 8, 1024), parameters=101_980_513)
RN101 = Size(image=ResNetConfig(layers=(3, 4, 23, 3), projection=512), text=_B_TEXT, parameters=119_635_297)
RN50X4 = Size(image=ResNetConfig(image_size=288, layers=(4, 6, 10, 6), width=80, heads=40, projection=640),
              text=clip_text(640, 12, 10, 640), parameters=178_245_721)
RN50X16 = Size(image=ResNetConfig(image_size=384, layers=(6, 8, 18, 8), width=96, heads=48, projection=768),
               text=_L_TEXT, parameters=290_882_257)
RN50X64 = Size(image=ResNetConfig(image_size=448, layers=(3, 15, 36, 10), width=128, heads=64),
               text=clip_text(1024, 12, 16, 1024), parameters=623_052_993)


def open_clip_files(repo: str, layout: Layout = "open_clip", first: Literal["safetensors", "bin"] = "safetensors",
                    ) -> tuple[Weights, ...]:
    """A repository's file for open_clip under its two names. The older repositories were made with the pickle alone,
    and some have got the other since; `first` is the one that is there for certain."""
    names = {"safetensors": "open_clip_model.safetensors", "bin": "open_clip_pytorch_model.bin"}
    order = [first, *(kind for kind in names if kind != first)]
    return tuple(Weights(layout=layout, repo=repo, file=names[kind]) for kind in order)


def at_url(url: str, layout: Layout, sha256: str | None = None) -> Weights:
    """A file at its publisher's own address."""
    return Weights(layout=layout, url=url, file=url.rpartition("/")[2], sha256=sha256)


def measured(imagenet: float, mean_38: float, flickr: float, coco: float, xm3600: float | None = None,
             ) -> tuple[Score, ...]:
    """open_clip's own measurements, which are made alike for every model."""
    english = scores(OPEN_CLIP_RESULTS, {IMAGENET: imagenet, MEAN_38: mean_38, FLICKR: flickr, COCO: coco})
    return english if xm3600 is None else (*english, *scores(MULTILINGUAL_RESULTS, {XM3600: xm3600}))


def both_names(arch: str, tag: str) -> tuple[str, ...]:
    """open_clip's two names of weights that were trained with QuickGELU. Its plain one runs them with the other GELU
    (but for OpenAI's), which costs some accuracy; here both give what was trained."""
    return f"{arch}::{tag}", f"{arch}-quickgelu::{tag}"


_COCO_CATS = "000000039769.jpg"
_DIAGRAM = Check(
    quantity="probabilities", pictures=("CLIP.png",), texts=("a diagram", "a dog", "a cat"),
    expected=((0.9927937, 0.00421068, 0.00299572),), tolerance=2e-3,  # computed in half precision
    source="openai/CLIP, README.md")
_CATS = Check(
    quantity="logits", pictures=(_COCO_CATS,), texts=("a photo of a cat", "a photo of a dog"),
    expected=((24.5701, 19.3049),), tolerance=1e-2,  # their crop is a pixel beside OpenAI's where the margin is odd
    source="transformers, tests/models/clip/test_modeling_clip.py")


def _openai(name: str, size: Size, arch: str, own: str, sha256: str, mirror: str, results: tuple[Score, ...],
            hub: tuple[Weights, ...] = (), checks: tuple[Check, ...] = (), pickle: bool = False) -> Entry:
    """`own` is OpenAI's name for it, as `clip.load` takes it. With `pickle`, their repository on the hub has no other
    file of weights."""
    file = own.replace("/", "-").replace("@", "-")
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{file}.pt"
    aliases = dict.fromkeys((*both_names(arch, "openai"), own))
    aliases.pop(name, None)
    return Entry(
        name=name, family="CLIP", licence="MIT", languages=("en",), parameters=size.parameters,
        weights=(*hub, Weights(layout="open_clip", repo=f"timm/{mirror}.openai", file="open_clip_model.safetensors"),
                 at_url(url, "openai", sha256), *(_on_hub(name, file="pytorch_model.bin") if pickle else ())),
        aliases=tuple(aliases), towers=size.towers("quick_gelu"), preprocessing=clip_pixels(size.image.image_size),
        tokenizer=CLIP_TOKENS, tokenizer_repo=CLIP_TOKENIZER, score_kind="softmax", calibration=CUTOFF,
        scores=results, checks=checks)


def _on_hub(name: str, revision: str = "main", file: str = "model.safetensors") -> tuple[Weights, ...]:
    return (Weights(layout="huggingface_clip", repo=f"openai/{name}", revision=revision, file=file),)


OPENAI = (
    _openai("clip-vit-large-patch14-336", L14_336, "ViT-L-14-336", "ViT-L/14@336px",
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", "vit_large_patch14_clip_336",
            measured(76.56, 62.84, 66.9, 37.09), pickle=True),
    _openai("clip-vit-large-patch14", L14, "ViT-L-14", "ViT-L/14",
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", "vit_large_patch14_clip_224",
            measured(75.54, 61.73, 64.96, 36.51), _on_hub("clip-vit-large-patch14")),
    _openai("clip-vit-base-patch16", B16, "ViT-B-16", "ViT-B/16",
            "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", "vit_base_patch16_clip_224",
            measured(68.34, 56.26, 62.16, 33.09), pickle=True),
    # the main branch has no safetensors file, the conversion of pull request 15 has
    _openai("clip-vit-base-patch32", B32, "ViT-B-32", "ViT-B/32",
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", "vit_base_patch32_clip_224",
            measured(63.32, 52.45, 58.78, 30.44), _on_hub("clip-vit-base-patch32", "refs/pr/15"), (_DIAGRAM, _CATS)),
    _openai("RN50x64", RN50X64, "RN50x64", "RN50x64",
            "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", "resnet50x64_clip",
            measured(73.91, 60.61, 68.98, 35.24)),
    _openai("RN50x16", RN50X16, "RN50x16", "RN50x16",
            "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", "resnet50x16_clip",
            measured(70.72, 56.7, 65.34, 35.41)),
    _openai("RN50x4", RN50X4, "RN50x4", "RN50x4",
            "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", "resnet50x4_clip",
            measured(66.27, 51.88, 62.58, 33.39)),
    _openai("RN101", RN101, "RN101", "RN101",
            "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", "resnet101_clip",
            measured(62.28, 50.33, 58.04, 30.69)),
    _openai("RN50", RN50, "RN50", "RN50",
            "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", "resnet50_clip",
            measured(59.82, 48.1, 57.36, 28.54)),
)
