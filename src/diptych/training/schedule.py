"""Learning rate by step."""

import math


def warmup_cosine(step: int, warmup: int, steps: int) -> float:
    """Factor on the base rate: linear from 1/warmup to 1, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
