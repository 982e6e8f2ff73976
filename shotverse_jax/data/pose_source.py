"""Training batches of the pose estimator: single frames of recorded films with the camera pose of each."""

import dataclasses
import functools

import numpy as np

from shotverse_jax.data.records import Records, naming, shuffled
from shotverse_jax.data.steps import StepSource
from shotverse_jax.screenplay import LATENT_STRIDE


@dataclasses.dataclass(frozen=True)
class PoseSource(StepSource):
    """Random access over steps: `source[step]` → (None, {"frames_BHWC" uint8, "pose_B34" float32}), this host's slice.

    A batch has the latent frames (0, 4, 8, …) of `global_batch` films; poses are camera-to-world in the stage's frame,
    metres. Every film comes once per epoch, in an order that depends on (seed, epoch) alone.

    Attributes:
        folder: records of `launch/encode.py` with video and pose_T34.
        seed: seed of the order.
        global_batch: films per step, over all hosts.
        num_steps: steps of the run.
        host, num_hosts: this process and the number of processes; default 0 of 1.

    Raises:
        ValueError: the batch does not divide over the hosts.
    """

    folder: str
    seed: int
    global_batch: int
    num_steps: int
    host: int = 0
    num_hosts: int = 1

    @functools.cached_property
    def _records(self):
        return Records(self.folder, ("video", "pose_T34"))

    def __getitem__(self, step: int) -> tuple[None, dict[str, np.ndarray]]:
        records = self._records
        films = [records[shuffled(i, len(records), self.seed)] for i in self.samples(step)]
        with naming(self.folder):
            return None, {
                "frames_BHWC": np.concatenate([film["video"][::LATENT_STRIDE] for film in films]),
                "pose_B34": np.concatenate([film["pose_T34"] for film in films]).astype(np.float32),
            }
