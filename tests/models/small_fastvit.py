"""Small FastViTs in timm's own code, with every parameter and every statistic random: the oracle of two test files."""

from functools import partial

import torch
from reference import timm

from diptych.models.config import FastVitConfig

SMALL = {  # the shapes of mci0 to mci2, and of mci3 and mci4
    "four stages": FastVitConfig(image_size=64, widths=(16, 32, 32, 64), depths=(1, 2, 3, 2), projection=24),
    "five stages": FastVitConfig(
        image_size=128, widths=(16, 32, 32, 64, 128), depths=(1, 2, 1, 2, 1), mlp_ratio=4, attention_stages=2,
        attention_norm="layer", gated_stages=0, stem_scale=False, projection=24),
}


def timm_fastvit(config: FastVitConfig) -> torch.nn.Module:
    """timm's model of that configuration, in training shape (all branches) and evaluation mode."""
    timm()
    from timm.layers import LayerNorm2d
    from timm.models.fastvit import FastVit, RepConditionalPosEnc

    stages = range(len(config.widths))
    layer_norm = {"norm_layer": partial(LayerNorm2d, eps=1e-5)} if config.attention_norm == "layer" else {}
    model = FastVit(
        layers=config.depths, embed_dims=config.widths, mlp_ratios=(config.mlp_ratio,) * len(stages),
        token_mixers=tuple("attention" if config.attends(i) else "repmixer" for i in stages),
        pos_embs=tuple(RepConditionalPosEnc if config.attends(i) else None for i in stages),
        downsamples=tuple(i > 0 for i in stages), se_downsamples=tuple(config.gated(i) for i in stages),
        num_classes=config.projection, lkc_use_act=True, stem_use_scale_branch=config.stem_scale, **layer_norm)
    return randomise_statistics(model)


def randomise_statistics(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random values that keep activations near 1: kernels by their fan-in, gains and variances around 1, and residual
    branches a tenth of what they are added to, as trained ones are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif "layer_scale" in name:
                tensor.copy_(0.1 + 0.05 * noise)
            elif tensor.ndim > 1:
                several = 0.6 if tensor.ndim == 4 else 1.0  # what comes of the branches is added
                tensor.copy_(several * noise * tensor[0].numel() ** -0.5)
            elif tensor.ndim == 1:
                tensor.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))
    return model.eval().requires_grad_(False)
