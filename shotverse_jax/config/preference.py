"""Preference optimisation of planners (VERTIGO, arXiv 2604.02467): how a network learns from pairs."""

import dataclasses
from typing import Annotated, Literal

from shotverse_jax.config.execution import LoraConfig
from shotverse_jax.config.ranges import Decay, Range, Scale, Weight
from shotverse_jax.config.training import TrainConfig

Noise = Annotated[float, Range(0, 0.5, below=True)]


@dataclasses.dataclass(frozen=True)
class PreferenceTrainConfig(TrainConfig):
    """A run of a planner, ShotVerse's or GenDoP's, on pairs of a better and a worse plan.

    `batch` counts pairs. Dropout is off, as in the reference.

    Attributes:
        task: its row in `train/tasks/`.
        base_weights: the planner to improve, by folder or name; it is the reference too, unless `reference` is given.
        reference: another planner of the same tokens as the reference, by folder or name.
        pairs: files of pairs (`data/pairs.py`), with commas between them.
        test_pairs: the same for held-out pairs; "" holds `test_share` of the pairs back.
        test_share: share of the pairs that are held out where `test_pairs` is empty.
        loss: a key of `train.preference_losses.LOSSES`.
        beta: how strongly the network is kept near the reference.
        label_noise: the probability that a pair is the wrong way round; only "cdpo" and "robust" use it.
        margin: by how much more the better plan shall be preferred for each unit that its score is higher.
        reduction: the log-probability of a plan is the "sum" over its tokens or their "mean", which needs a beta as
            many times larger as there are tokens; "auto" is the mean for "ipo", else the sum.
        sft_weight: weight of the better plan's cross-entropy, which keeps it likely. Without it both plans of a pair
            become less likely.
        lora: adapters to train while the rest stays as it is; None trains all of the network.
    """

    task: Literal["preference"] = "preference"
    base_weights: str = "planner_small"
    reference: str = ""
    pairs: str = ""
    test_pairs: str = ""
    test_share: Decay = 0.05
    loss: Literal["dpo", "cdpo", "robust", "ipo", "hinge"] = "dpo"
    beta: Scale = 0.1
    label_noise: Noise = 0.05
    margin: Weight = 0.0
    reduction: Literal["auto", "sum", "mean"] = "auto"
    sft_weight: Weight = 0.05
    lora: LoraConfig | None = None

    @property
    def mean_of_tokens(self) -> bool:
        """Whether log-probabilities of plans are means over their tokens."""
        return self.reduction == "mean" or (self.reduction == "auto" and self.loss == "ipo")
