"""Keeping a student's vectors close to a teacher's."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def cosine_loss(
    student: Float[Tensor, "batch embed"], teacher: Float[Tensor, "batch embed"]
) -> Float[Tensor, ""]:
    """Mean of 1 − cosine. Neither side needs unit norm."""
    return (1.0 - F.cosine_similarity(student, teacher, dim=-1)).mean()
