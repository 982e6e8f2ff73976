"""Preference optimisation of planners (VERTIGO, arXiv 2604.02467): how a network learns from pairs."""

import dataclasses
from typing import Annotated, Literal

from shotverse_jax import limits
from shotverse_jax.config.execution import LoraConfig
from shotverse_jax.config.ranges import (
    Checked,
    Count,
    CountOrNone,
    Decay,
    Range,
    Scale,
    Seed,
    Share,
    Side,
    Steps,
    Weight,
)
from shotverse_jax.config.training import ControllerTrainConfig, TrainConfig

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
        learns: "all" of the network, or an "adapter" of it while the rest stays as it is.
        lora: the adapter.
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
    learns: Literal["all", "adapter"] = "all"
    lora: LoraConfig = LoraConfig(rank=32, alpha=32.0)

    @property
    def mean_of_tokens(self) -> bool:
        """Whether log-probabilities of plans are means over their tokens."""
        return self.reduction == "mean" or (self.reduction == "auto" and self.loss == "ipo")


@dataclasses.dataclass(frozen=True)
class FilmPreferenceTrainConfig(ControllerTrainConfig):
    """A run of a controller's expert on pairs of films (Flow-DPO, arXiv 2501.13918).

    A new adapter learns; the expert without it is the reference. `data` holds the better films and `rejected` the worse
    ones: record i of both is of one screenplay and one camera path.

    Attributes:
        task: its row in `train/tasks/`.
        rejected: folder of the worse films (`launch/encode.py`).
        test_rejected: the same for held-out films.
        beta: how strongly the network is kept near the reference; it goes with mean square errors.
        sft_weight: weight of the better films' flow-matching loss.
    """

    task: Literal["film_preference"] = "film_preference"
    rejected: str = ""
    test_rejected: str = ""
    beta: Weight = 100.0
    sft_weight: Weight = 0.05


Samples = Annotated[int, Range(1, limits.SAMPLES)]


@dataclasses.dataclass(frozen=True)
class PairsConfig(Checked):
    """How pairs of plans are made of screenplays.

    Attributes:
        planner: the planner whose plans are compared, by folder or name.
        candidates: plans that are drawn of each screenplay.
        drawn: folder of pairs that were made before, whose candidates are judged anew; "" draws them.
        unit: what is compared: whole plans of a "scene", or each "shot" of them with the others kept.
        geometric, cyclic, direct: weight of each judge in the score (`preference/judges.py`); 0 leaves it out.
        motion: share of the geometric score that is of motions; the rest is of framing.
        margin: by how much the better plan's score must be higher.
        agreed: whether no judge may put the worse plan first, nor the better one be framed worse.
        truth: whether the cameras that a screenplay was written for are known to the geometric judge: "list" reads the
            `trajectory` of its row, "stage" makes those of the stage's scenes.
        contrast: share of the pairs that are of the best plan and the same with a motion reversed or scaled.
        captioner: the network that captions previews, by folder or name, or the address of an OpenAI-compatible
            endpoint; only "cyclic" and "direct" ask it.
        captioner_model: name of the model at an endpoint.
        captions: captions of each preview, over which the cyclic score is averaged.
        previews: folder of previews that another program rendered; "" films candidates on the stage.
        frames, height, width: of a preview of a shot.
        probes: screenplays of the stage on which the judges are tried before anything is made; 0 trusts them.
    """

    planner: str = "planner_small"
    candidates: Samples = 8
    drawn: str = ""
    unit: Literal["scene", "shot"] = "scene"
    geometric: Weight = 1.0
    cyclic: Weight = 0.0
    direct: Weight = 0.0
    motion: Share = 0.5
    margin: Weight = 0.05
    agreed: bool = True
    truth: Literal["none", "list", "stage"] = "none"
    contrast: Decay = 0.25
    captioner: str = "captioner_small"
    captioner_model: str = ""
    captions: Count = 3
    previews: str = ""
    frames: Count = 16
    height: Side = 48
    width: Side = 80
    probes: CountOrNone = 100

    def __post_init__(self):
        super().__post_init__()
        if not self.judges:
            raise ValueError("at least one of geometric, cyclic and direct must have a weight above 0")

    @property
    def judges(self) -> dict[str, float]:
        """The judges that are asked, with their weights."""
        weights = {name: getattr(self, name) for name in ("geometric", "cyclic", "direct")}
        return {name: weight for name, weight in weights.items() if weight}


@dataclasses.dataclass(frozen=True)
class LoopConfig(Checked):
    """Rounds of preference optimisation: candidates, previews, judges, pairs, training, evaluation.

    Attributes:
        pairs: how pairs are made; its planner is the one of the first round.
        train: how a round trains; its pairs and its weights are those of the round.
        rounds: how many there are. Each draws new candidates with the planner of the round before.
        prompts: a list of screenplays (docs/batch.md), the same in every round; "" takes scenes of the stage, others in
            every round.
        scenes: of the stage in a round.
        test_scenes: held-out scenes of the stage on which the planner of every round is scored.
        seed: of candidates; training has its own.
    """

    pairs: PairsConfig = PairsConfig()
    train: PreferenceTrainConfig = PreferenceTrainConfig()
    rounds: Count = 2
    prompts: str = ""
    scenes: Steps = 2600
    test_scenes: Count = 300
    seed: Seed = 0
