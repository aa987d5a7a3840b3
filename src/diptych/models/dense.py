"""What a picture tower knows of each part of a picture: patch features, patch embeddings, and heat maps of a text.

A patch's embedding is what the tower would give if its pooling saw that patch alone: for MAP and query pooling the
head applied to one token, for a class token the last block with every token attending to itself (MaskCLIP, arXiv
2112.01071), for pooled means the projection of one cell. So the same weights that compare pictures with texts compare
patches with texts. It is a view into the model, not a segmentation: patches have seen each other in the layers before.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from diptych.models.efficientnet import EfficientNet
from diptych.models.eva import Eva
from diptych.models.fastvit import FastVit
from diptych.models.naflex import NaflexVit, PackedPatches
from diptych.models.resnet import ResNet
from diptych.models.two_tower import ImageTower
from diptych.models.vit import QueryPool, Vit


def patch_features(
    tower: ImageTower, pixels: Float[Tensor, "batch 3 height width"] | PackedPatches
) -> Float[Tensor, "patches channels"]:
    """The patches' states before the final norm and pooling, one picture after the other, row by row."""
    match tower, pixels:
        case NaflexVit(), PackedPatches():
            return tower.patch_tokens(pixels)
        case EfficientNet(), Tensor():
            return tower.trunk.cells(pixels).flatten(0, 1)
        case (Vit() | Eva() | ResNet() | FastVit()), Tensor():
            return tower.patch_tokens(pixels).flatten(0, 1)
    raise ValueError(f"{type(tower).__name__} does not take {type(pixels).__name__}")


def patch_embeddings(
    tower: ImageTower, pixels: Float[Tensor, "batch 3 height width"] | PackedPatches
) -> Float[Tensor, "patches embed"]:
    """Each patch in the space of pictures and texts, of unit norm; one picture after the other, row by row."""
    match tower, pixels:
        case (Vit(pool=None) | Eva(pool=None)), Tensor():
            patches = _alone_in_last_block(tower, pixels) if tower.config.pool == "cls" else tower.patch_tokens(pixels)
            found = tower.projection(tower.norm_post(patches)).flatten(0, 1)
        case (Vit() | Eva()), Tensor():
            tokens = tower.patch_tokens(pixels).flatten(0, 1)[:, None]  # sequences of one token
            if isinstance(tower.pool, QueryPool):
                found = tower.projection(tower.norm_post(tower.pool(tokens)))
            else:
                assert tower.pool is not None
                found = tower.projection(tower.pool(tower.norm_post(tokens)))
        case NaflexVit(), PackedPatches():
            found = tower.pool(tower.norm_post(tower.patch_tokens(pixels))[:, None])
        case ResNet(), Tensor():
            cells = tower.patch_tokens(pixels) + tower.pool.position[1:]
            weight, bias = (p.chunk(3)[2] for p in (tower.pool.in_proj.weight, tower.pool.in_proj.bias))
            found = tower.pool.out_proj(torch.nn.functional.linear(cells, weight, bias)).flatten(0, 1)
        case FastVit(), Tensor():
            found = tower.projection(tower.patch_tokens(pixels)).flatten(0, 1)
        case EfficientNet(), Tensor():
            found = tower.head(tower.trunk.cells(pixels).flatten(0, 1))
        case _:
            raise ValueError(f"{type(tower).__name__} does not take {type(pixels).__name__}")
    return torch.nn.functional.normalize(found.float(), dim=-1)


def _alone_in_last_block(
    tower: Vit | Eva, pixels: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch patches channels"]:
    """The patches' tokens after the last block, in which each attended to itself only."""
    last = len(tower.blocks) - 1
    prefix = int(tower.config.has_cls if isinstance(tower, Vit) else tower.config.cls_token)
    before = tower.tokens(pixels, blocks=last)[:, prefix:]
    alone = before.flatten(0, 1)[:, None]  # sequences of one token
    block = tower.blocks[last]
    after = block(alone, None) if isinstance(tower, Eva) else block(alone)  # a lone key needs no rotation
    return after.reshape(before.shape)
