"""The table of tasks: everything that can be trained, one file for each network."""

from pathlib import Path

from jax.sharding import Mesh

from shotverse_jax.config import (
    CameraCLIPTrainConfig,
    CaptionerTrainConfig,
    CLaTrTrainConfig,
    ControllerTrainConfig,
    FilmPreferenceTrainConfig,
    GenDoPTrainConfig,
    PlannerTrainConfig,
    PoseNetTrainConfig,
    PreferenceTrainConfig,
    TrainConfig,
    VAETrainConfig,
    from_dict,
)
from shotverse_jax.files import check_place
from shotverse_jax.parallel.mesh import batch_sharding, make_mesh
from shotverse_jax.train.task import Outline, Task, TaskKind
from shotverse_jax.train.tasks import (
    camera_clip,
    captioner,
    clatr,
    controller,
    film_preference,
    gendop,
    planner,
    pose_net,
    preference,
    vae,
)

TASKS = {
    "planner": TaskKind(PlannerTrainConfig, planner.build, planner.outline),
    "controller": TaskKind(ControllerTrainConfig, controller.build, controller.outline, ("data", "test_data")),
    "gendop": TaskKind(GenDoPTrainConfig, gendop.build, gendop.outline),
    "pose_net": TaskKind(PoseNetTrainConfig, pose_net.build, needs=("data", "test_data")),
    "clatr": TaskKind(CLaTrTrainConfig, clatr.build, clatr.outline),
    "film_preference": TaskKind(
        FilmPreferenceTrainConfig,
        film_preference.build,
        needs=("data", "test_data", "rejected", "test_rejected"),
    ),
    "preference": TaskKind(PreferenceTrainConfig, preference.build, preference.outline, ("pairs",)),
    "vae": TaskKind(VAETrainConfig, vae.build),
    "camera_clip": TaskKind(CameraCLIPTrainConfig, camera_clip.build, camera_clip.outline),
    "captioner": TaskKind(CaptionerTrainConfig, captioner.build, captioner.outline),
}


def read_config(values: dict) -> TrainConfig:
    """The training config of plain values: a file of `configs/`, or the `run.json` of a run.

    Raises:
        ValueError: an unknown task or field, or a value that is none of a field's choices.
    """
    task = values.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"task is one of {', '.join(TASKS)}; got {task!r}")
    return from_dict(TASKS[task].config, values)


def build(config: TrainConfig, folder: str | Path) -> Task:
    """The task of a config, ready for `train`; `folder` is the run's and is made if it is not there.

    Raises:
        ValueError: a mesh that does not use all devices, a batch that does not divide over it, or data that are not
            given; before anything is read or made. Then weights, data or a tokenizer that are not there or do not fit,
            listed in the file of the task.
    """
    kind, folder = TASKS[config.task], Path(folder)
    for name in kind.needs:
        if not getattr(config, name):
            raise ValueError(f"{name} must name a data set for a run of {config.task}, and is empty (docs/data.md)")
    mesh = make_mesh(config.mesh)
    for size in {config.batch, config.batch // config.accumulate}:
        batch_sharding(mesh, size)
    check_place(folder, folder=True)
    folder.mkdir(parents=True, exist_ok=True)
    return kind.build(config, folder)


def outline(config: TrainConfig, mesh: Mesh) -> Outline:
    """The run of a config as shapes, laid out on a mesh.

    Raises:
        ValueError: a task without an outline, or a text encoder of unknown size.
    """
    make = TASKS[config.task].outline
    if make is None:
        known = sorted(name for name, kind in TASKS.items() if kind.outline)
        raise ValueError(
            f"the runs that can be fitted are those of {' and '.join(known)}; this config's is {config.task}"
        )
    return make(config, mesh)
