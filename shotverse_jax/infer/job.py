"""A batch as plain values, which can be sent to another process: what is to be done, with which models, and how."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from shotverse_jax.conversion.adapters import is_named, parse_lora
from shotverse_jax.endpoint import is_address
from shotverse_jax.infer.adapters import film_loras, load_controller
from shotverse_jax.infer.batch import Work, file_digest
from shotverse_jax.infer.decode import SAMPLERS
from shotverse_jax.infer.execution import read_mesh
from shotverse_jax.infer.fits import check_fits, film_memory
from shotverse_jax.infer.need import CPU_BASE
from shotverse_jax.infer.options import check_film
from shotverse_jax.infer.plan_need import most_plan_memory
from shotverse_jax.infer.ready import CONTROLLER, PLANNER, load_planner
from shotverse_jax.infer.work import FilmWork, PlanWork
from shotverse_jax.inputs.items import Item, Refused
from shotverse_jax.weights.folder import CONFIG, digest, find

CPU_PROGRAMS = 30_000_000
"""Bytes of the programs of one kind of film or plan, which stay in memory: 11 films of `examples/` took 0.94 GiB
together where one takes 0.65 (`benchmarks.memory`)."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a batch does with every item.

    Attributes:
        task: "plan" makes plans, "film" makes films.
        model: name or folder of the controller of films; None takes the shipped one.
        planner: name or folder of the planner; None takes the shipped one.
        sampling: how pose tokens are picked; None takes the planner's own way.
        candidates: plans that are drawn for each that is kept; None takes the planner's own number.
        steps, guidance: of films; None takes the model's own.
        solver: of films.
        lora: adapters of all films, each as `shotverse film --lora` takes it.
        faster: further options of films, as pairs of name and value: guidance_range, one_pass, skip (docs/faster.md).
        compose: how the adapters that shots ask for are put together, `cinematic.guidance.Compose`; None merges them.
        preview: whether pictures of the plans are made too, trajectory.png and preview.mp4.
        mesh: the devices of a model, like "fsdp=4,sequence=2"; None takes one device.
        dtype, attention: as `infer.execution.choose` takes them; None takes the platform's own.
        offload: as `Cinematographer.load` takes it.
        quantize: the type of the experts' weights, "int8" or "float8"; None leaves them as they are.
    """

    task: Literal["plan", "film"]
    model: str | None = None
    planner: str | None = None
    sampling: str | None = None
    candidates: int | None = None
    steps: int | None = None
    guidance: float | None = None
    solver: Literal["unipc", "euler"] = "unipc"
    lora: tuple[str, ...] = ()
    faster: tuple[tuple[str, Any], ...] = ()
    compose: Any = None
    preview: bool = False
    mesh: str | None = None
    dtype: str | None = None
    attention: str | None = None
    offload: Literal["none", "text", "experts"] | None = None
    quantize: Literal["int8", "float8"] | None = None

    def load(self) -> Work:
        """Loads the models.

        Raises:
            ValueError: a model that is not there, or a mesh or kernel that this machine cannot have.
        """
        check_film(steps=self.steps, guidance=self.guidance, **dict(self.faster))
        for text in self.lora:
            parse_lora(text)
        mesh = read_mesh(self.mesh)
        place = {"dtype": self.dtype, "attention": self.attention}
        planner_name = self.planner or PLANNER
        # Where the mesh is for a film's controller, the planner runs on one device of every process.
        planner = load_planner(planner_name, mesh=mesh if self.task == "plan" else None, **place)
        candidates = self.candidates or planner.usual_candidates
        settings = {"planner": identity(planner_name), "sampling": self.sampling, "candidates": candidates}
        if self.task == "plan":
            sampling = None if self.sampling is None else SAMPLERS[self.sampling]
            return PlanWork(planner, settings, self.preview, sampling)
        name, notes = self.model or CONTROLLER, []
        place |= {"mesh": mesh, "offload": self.offload}
        cinematographer = load_controller(name, self.lora, self.quantize, notes.append, **place)
        named = tuple(text for text in self.lora if is_named(text))
        read = functools.partial(film_loras, named=named, controller=cinematographer)
        options = {"steps": self.steps, "guidance": self.guidance, "solver": self.solver, **dict(self.faster)}
        settings |= {
            "model": identity(name),
            "lora": lora_identity(self.lora),
        }
        settings |= options | ({} if self.compose is None else {"compose": self.compose.record()})
        place = {"dtype": self.dtype, "offload": self.offload, "quantize": self.quantize}
        fits = functools.partial(check_fits, name, mesh=mesh, **place)
        more = {"read_loras": read, "compose": self.compose, "check_fits": fits, "notes": tuple(notes)}
        return FilmWork(cinematographer, planner, settings, options, self.preview, **more)

    def memory(self, items: Sequence[Item | Refused]) -> int:
        """The most bytes that an item needs of every device of this machine; on a CPU, of the process.

        On a CPU the planner is there too, and the compiled programs of every length, size and number of shots.
        """
        kinds = {
            (item.screenplay.layout().num_frames, item.frames, item.size, len(item.screenplay.shots))
            for item in items
            if isinstance(item, Item)
        }
        programs = CPU_PROGRAMS * len(kinds) if jax.default_backend() == "cpu" else 0
        return self._largest(items) + programs

    def _largest(self, items: Sequence[Item | Refused]) -> int:
        """The same without what is compiled."""
        cpu = jax.default_backend() == "cpu"
        planner = most_plan_memory(self.planner or PLANNER, self.dtype)
        if self.task == "plan":
            return planner
        place = {"mesh": read_mesh(self.mesh), "dtype": self.dtype, "offload": self.offload, "quantize": self.quantize}
        films = [planner]
        for item in items:
            if isinstance(item, Item):
                whole, size = item.screenplay.layout().num_frames, item.size
                films.append(film_memory(self.model or CONTROLLER, item.frames, size, whole=whole, **place))
        return max(films) + (planner - CPU_BASE if cpu else 0)


def identity(name_or_folder: str) -> dict[str, Any]:
    """What tells a model from another of the same name, for records. Raises ValueError where there is no such model."""
    folder = find(("planner", "gendop", "controller", "qwen3_vl"), name_or_folder, (CONFIG,))
    return {"name": Path(name_or_folder).name, "digest": digest(folder)}


def lora_identity(loras: Sequence[str]) -> list[tuple[str, str]]:
    """Adapters with digests of their files, for records. loras: as `--lora` takes them; ValueError as `parse_lora`."""
    return [(text, file_digest(parse_lora(text).file)) for text in loras]


def captioner_identity(name: str, model: str = "") -> dict[str, Any]:
    """What tells a captioner from another, for records: a network, or with an address the model of that name there."""
    return {"url": name, "model": model} if is_address(name) else identity(name)
