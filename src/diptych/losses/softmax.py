"""The symmetric softmax (InfoNCE) loss of CLIP (arXiv 2103.00020, Figure 3)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def softmax_loss(
    image: Float[Tensor, "images embed"],
    text: Float[Tensor, "texts embed"],
    logit_scale: Float[Tensor, ""],
    positive: Bool[Tensor, "images texts"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of both directions' cross-entropy over unit-norm embeddings.

    With several positives the target is uniform over them (UniCL, arXiv 2204.03610). `positive` None is the diagonal;
    a row or column without a positive is left out of its direction's mean.
    """
    logits = logit_scale * image @ text.T
    if positive is None:
        if len(image) != len(text):
            raise ValueError(f"without `positive`, expected as many texts as pictures; got {len(text)}, {len(image)}")
        positive = torch.eye(len(image), dtype=torch.bool, device=image.device)
    return (_cross_entropy(logits, positive) + _cross_entropy(logits.T, positive.T)) / 2


def _cross_entropy(logits: Float[Tensor, "rows columns"], target: Bool[Tensor, "rows columns"]) -> Float[Tensor, ""]:
    weight = target.to(logits.dtype)
    per_row = -(logits.log_softmax(dim=1) * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return per_row.sum() / target.any(dim=1).sum().clamp(min=1)
