"""How one stage of training runs. Frozen records; a recipe holds one per stage."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with decoupled decay. β2 = 0.95 keeps large-batch contrastive training stable (SigLIP §4.7)."""

    lr: float = 1e-3
    weight_decay: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    warmup_steps: int = 200
    pretrained_lr_factor: float = 0.1  # SigLIP §4.5: a pretrained tower at a tenth, without weight decay

    def __post_init__(self):
        if self.lr <= 0 or self.clip_norm <= 0:
            raise ValueError(f"lr and clip_norm must be positive, got {self.lr} and {self.clip_norm}")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Steps, batch and intervals of one stage."""

    steps: int
    batch: int
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    log_every: int = 20
    checkpoint_every: int = 100
    evaluate_every: int = 500
    bf16: bool = True

    def __post_init__(self):
        if self.steps < 0 or self.batch < 2:
            raise ValueError(f"steps must be ≥ 0 and batch ≥ 2, got {self.steps} and {self.batch}")
