"""The pairwise sigmoid loss of SigLIP (arXiv 2303.15343, Algorithm 1)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def sigmoid_loss(
    image: Float[Tensor, "images embed"],
    text: Float[Tensor, "texts embed"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""],
    positive: Bool[Tensor, "images texts"] | None = None,
) -> Float[Tensor, ""]:
    """−Σ log σ(±(scale · cos + bias)) / images, over unit-norm embeddings.

    `logit_scale` is already exponentiated. `positive[i, j]` says that text j is true of picture i; None is the
    diagonal. The published formula has the opposite sign on the bias; this follows the algorithm, as big_vision does.
    """
    logits = logit_scale * image @ text.T + logit_bias
    if positive is None:
        if len(image) != len(text):
            raise ValueError(f"without `positive`, expected as many texts as pictures; got {len(text)}, {len(image)}")
        positive = torch.eye(len(image), dtype=torch.bool, device=image.device)
    # per image, not per pair: images × texts would shrink the gradient as the batch grows
    return -F.logsigmoid(logits.where(positive, -logits)).sum() / len(image)
