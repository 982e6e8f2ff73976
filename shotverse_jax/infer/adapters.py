"""LoRAs in films: folded into the experts once, or kept beside them with weights that change."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from shotverse_jax import lora
from shotverse_jax.conversion.adapters import is_named, parse_lora, read_loras
from shotverse_jax.conversion.styles import style_names
from shotverse_jax.infer.cinematographer import Adapters, Cinematographer
from shotverse_jax.infer.fits import device_memory
from shotverse_jax.lora import Lora, name_key
from shotverse_jax.nn.quantized import is_quantized
from shotverse_jax.parallel.rules import shardings
from shotverse_jax.weights.folder import SHIPPED

EXPERTS = ("high", "low")
STYLES = "camera_diff_small"
"""The adapters of the twenty cinematic classes that ship, for names that no other adapter has."""
STYLES_FILE = "styles.safetensors"


def folded(cinematographer: Cinematographer, loras: Sequence[Lora], *, donate: bool = False) -> Cinematographer:
    """A cinematographer with the adapters in the experts' weights; see `Cinematographer.with_loras`."""
    if cinematographer.adapters is not None:
        names = ", ".join(cinematographer.adapters.names)
        raise ValueError(f"{names} are kept beside the weights; fold adapters before others are kept beside")
    if is_quantized(cinematographer.low):
        raise ValueError(
            "adapters are folded before weights are quantized; load the controller anew, or keep them beside"
        )
    experts = {}
    for name in EXPERTS:
        changes = [(part.experts[name], part.weight) for part in loras if name in part.experts]
        if changes:
            experts[name] = lora.fold(getattr(cinematographer, name), changes, donate=donate)
    return dataclasses.replace(cinematographer, **experts)


def beside(cinematographer: Cinematographer, loras: Sequence[Lora], balance: bool = False) -> Cinematographer:
    """A cinematographer with the adapters beside the experts' weights, in place of any that were there.

    balance: as `Cinematographer.with_loras` takes it.
    """
    whole = [path for part in loras for changes in part.experts.values() for path in changes.deltas]
    if is_quantized(cinematographer.low) and any(path.endswith("/kernel") for path in whole):
        raise ValueError(
            "an adapter that changes whole weights cannot be beside quantized ones; load the controller anew"
        )
    mesh, stacks = cinematographer.design.mesh, {}
    for name in EXPERTS:
        changes = [part.experts.get(name) for part in loras]
        stacked = lora.stack(getattr(cinematographer, name), lora.balanced(changes) if balance else changes)
        # They are small and stay on the devices, where the experts may come and go.
        stacks[name] = jax.device_put(stacked, None if mesh is None else shardings(stacked, mesh))
    weights_N = np.array([part.weight for part in loras], np.float32)
    names, always = tuple(part.name for part in loras), tuple(part.always for part in loras)
    adapters = Adapters(**stacks, weights_N=weights_N, names=names, always=always)
    return dataclasses.replace(cinematographer, adapters=adapters)


def load_controller(
    name_or_folder: str | Path,
    loras: Sequence[Any] = (),
    quantize: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    **place: Any,
) -> Cinematographer:
    """Returns a controller with adapters folded into it and then, if wanted, with experts in 8 bits.

    Args:
        name_or_folder: a shipped or fetched controller, or the folder of one.
        loras: adapters, each a text [NAME=]FILE[@SCALE][:high|low] or what `conversion.adapters.read_loras` made of
            one. Those with names are left to `asked_for`.
        quantize: the type of the experts' weights, as `Cinematographer.quantized` takes it; None leaves them.
        say: is given what was left out of an adapter, or assumed.
        place: mesh, dtype, attention and offload, as `Cinematographer.load` takes them.

    Raises:
        ValueError: as `Cinematographer.load`, or an adapter that cannot be read or is for another network.
    """
    staged = dict(place)
    if quantize and device_memory(place.get("mesh")) is not None:
        # Beside what becomes of them, the larger weights need not fit the device: they come to it one by one.
        staged["offload"] = "experts"
    controller = Cinematographer.load(str(name_or_folder), **staged)
    if everywhere := [spec for spec in loras if not is_named(spec)]:
        controller = adapted(controller, everywhere, say, donate=True)
    return controller.quantized(quantize, place.get("offload")) if quantize else controller


def adapted(
    controller: Cinematographer, loras: Sequence[Any], say: Callable[[str], None], donate: bool = False
) -> Cinematographer:
    """Returns a loaded controller with adapters folded into it; `loras` and `say` are those of `load_controller`.

    donate: gives up the given controller, so that no weight is there twice; False (default) leaves it as it was.
    """
    read = read_loras(loras, controller.config)
    for note in (note for part in read for note in part.notes):
        say(note)
    return controller.with_loras(read, donate=donate)


def asked_for(
    controller: Cinematographer,
    loras: Sequence[Any],
    asked: Sequence[str],
    say: Callable[[str], None] = lambda text: None,
    balance: bool = False,
) -> Cinematographer:
    """Returns a controller with the adapters beside its weights that shots ask for by name.

    Args:
        controller: a loaded one.
        loras: adapters as `load_controller` takes them; those without a name are not looked at.
        asked: the names, of `infer.composing.names_of`.
        say: is given what was left out of an adapter, or assumed.
        balance: as `Cinematographer.with_loras` takes it.

    Raises:
        ValueError: a name that no adapter has, or an adapter that cannot be read or is for another network.
    """
    named = [spec for spec in loras if is_named(spec)]
    keys = set(map(name_key, asked))
    # Of a file with many, most are never asked for.
    for name in dict.fromkeys(parse_lora(spec).name for spec in named if isinstance(spec, str)):
        if name is not None and name_key(name) not in keys:
            say(f"no shot asks for the adapter {name}")
    if not asked:
        return controller
    read = film_loras((), asked, named, controller)
    for note in (note for part in read for note in part.notes):
        say(note)
    return controller.with_loras(read, fold=False, balance=balance)


def film_loras(
    specs: Sequence[Any], asked: Sequence[str], named: Sequence[Any], controller: Cinematographer
) -> list[Lora]:
    """Returns the adapters to keep beside a controller for a film: its own ones, and those that its shots ask for.

    Args:
        specs: the film's own adapters, with names or without.
        asked: names that its shots ask for.
        named: more adapters with names, of all films.
        controller: a loaded one.

    Raises:
        ValueError: as `asked_for`.
    """
    found = read_loras([*specs, *named], controller.config, asked)
    there = {name_key(lora.name) for lora in found if not lora.always}
    if missing := [name for name in asked if name_key(name) not in there]:
        shipped = SHIPPED / STYLES / STYLES_FILE
        more = read_loras([str(shipped)], controller.config, missing) if shipped.is_file() else []
        found, there = [*found, *more], there | {name_key(lora.name) for lora in more}
        if missing := [name for name in missing if name_key(name) not in there]:
            known = _names([*specs, *named]) + (list(style_names(shipped)) if shipped.is_file() else [])
            raise ValueError(
                f"no adapter is called {', '.join(missing)}; shots may ask for {', '.join(known) or 'none'}, and "
                f'--lora "{missing[0]}=FILE" gives a file that name'
            )
    # In the order in which they are asked for: the first one has the first turn where they switch.
    order = {name_key(name): place for place, name in enumerate(asked)}
    return sorted(found, key=lambda lora: -1 if lora.always else order[name_key(lora.name)])


def _names(specs: Sequence[Any]) -> list[str]:
    """The names of adapters that have one."""
    names = []
    for spec in specs:
        if isinstance(spec, Lora):
            names += [] if spec.always else [spec.name]
        elif (parsed := parse_lora(spec) if isinstance(spec, str) else spec).name is not None:
            names.append(parsed.name)
        elif is_named(parsed):
            names += style_names(Path(parsed.file))
    return names
