"""timm's `NaFlexVit` as SigLIP 2 uses it, as it stands in open_clip's files under `visual.trunk.`.

But for the patches and their positions its names are those of a `VisionTransformer`. transformers' names of the same
tower are in `huggingface.py`. timm resizes positions bicubically where it is not told otherwise; transformers,
big_vision and our tower do it bilinearly, as the model was trained, so that only pictures of the learned grid have the
same vector there by default.
"""

import math

from diptych.models.checkpoints.maps import timm_vit
from diptych.models.checkpoints.maps.keys import PATCH_ROWS, Form, Names, one
from diptych.models.config import NaflexConfig, VitConfig


def square(axes: int) -> Form:
    """Positions [grid · grid, width] as [grid, grid, width], with that many axes of length 1 in front."""
    ones = (1,) * axes
    return Form(
        lambda shape: (*ones, math.isqrt(shape[0]), math.isqrt(shape[0]), shape[1]),
        lambda there, shape: there.reshape(shape),
        lambda here: here.reshape(*ones, math.isqrt(len(here)), -1, here.shape[1]),
    )


def timm_names(config: NaflexConfig) -> Names:
    """Each of our keys of the picture tower, `image.…`, with where it lies."""
    return timm_vit.names(VitConfig(layers=config.layers)) | {
        "image.position": one("visual.trunk.embeds.pos_embed", square(1)),
        "image.patch_embed.weight": one("visual.trunk.embeds.proj.weight", PATCH_ROWS),
        "image.patch_embed.bias": one("visual.trunk.embeds.proj.bias"),
    }
