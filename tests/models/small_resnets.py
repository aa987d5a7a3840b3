"""Small ModifiedResNets of open_clip with random weights, and the same for its transformers."""

import torch
from reference import open_clip
from torch import nn

from diptych.models.config import ResNetConfig


def reference(config: ResNetConfig) -> nn.Module:
    open_clip()
    from open_clip.modified_resnet import ModifiedResNet

    return ModifiedResNet(list(config.layers), config.projection, config.heads, config.image_size, config.width)


def random_reference(config: ResNetConfig, seed: int = 0) -> nn.Module:
    return randomise_evenly(reference(config), config.image_size, seed)


def randomise_evenly(module: nn.Module, image_size: int, seed: int = 0) -> nn.Module:
    """Every parameter random, at a scale that keeps activations around 1 through many layers.

    The statistics of BatchNorms are random, too, but near those of real activations: with others, pictures hardly show
    in the features, which biases alone make up, and a comparison would see nothing of the convolutions.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, mean=0.0, std=1.0):
        tensor.copy_(mean + std * torch.randn(tensor.shape, generator=generator))

    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim < 2:
                draw(parameter, 0.0, 0.2)
            else:
                draw(parameter, 0.0, 1.0 if "embedding" in name else parameter[0].numel() ** -0.5)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
                draw(part.weight, 0.6, 0.2)
        for norm in norms:
            norm.momentum = None  # take what the next batch measures as it is
        if norms:
            visual = getattr(module, "visual", module)
            visual.train()(torch.randn(8, 3, image_size, image_size, generator=generator))
        for norm in norms:
            shift = torch.randn(norm.running_mean.shape, generator=generator)
            norm.running_mean.add_(0.1 * shift * norm.running_var.sqrt())
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.9, 1.5, generator=generator))
    return module.eval().requires_grad_(False)
