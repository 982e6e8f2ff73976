"""How networks run for inference: the attention kernel, the dtype and the mesh, each by value or the platform's own."""

import contextlib

import jax
from jax.sharding import Mesh

from shotverse_jax.config import Execution, MeshConfig
from shotverse_jax.files import cache_folder
from shotverse_jax.infer.options import check_film
from shotverse_jax.nn.attention import kernels_on
from shotverse_jax.parallel.mesh import make_mesh, parse_sizes
from shotverse_jax.parallel.sequence import spread

DTYPES = ("float32", "bfloat16")


def choose(
    mesh: Mesh | None = None, dtype: str | None = None, attention: str | None = None
) -> tuple[Execution, Mesh | None]:
    """(how a network runs, the mesh that its weights are loaded to).

    Args:
        mesh: the devices to spread over; None runs on one device.
        dtype: of weights and activations; None takes float32 on a CPU and bfloat16 on accelerators.
        attention: the kernel, a name in `nn.attention.KERNELS`; None takes the platform's fastest: cuDNN's on NVIDIA
            GPUs, splash on TPUs, XLA's in chunks on CPUs.

    Returns:
        The execution, spread over the mesh, and the mesh to load to. On an accelerator that is never None: weights then
        go to the device as they are read, in their dtype. None: they stay NumPy arrays in float32.

    Raises:
        ValueError: an unknown dtype, or a kernel that does not run here or not in that dtype.
    """
    platform = jax.default_backend()
    dtype = dtype or ("float32" if platform == "cpu" else "bfloat16")
    check_dtype(dtype)
    kernels = kernels_on(platform, dtype)
    if attention is not None and attention not in kernels:
        raise ValueError(f"attention {attention!r} does not run on a {platform} in {dtype}; use {' or '.join(kernels)}")
    # Unrolled layers are faster on a CPU, where programs compile fast; deep stacks on accelerators are scanned.
    execution = Execution(attention=attention or kernels[0], dtype=dtype, unroll=platform == "cpu")
    if mesh is not None:
        return spread(execution, mesh), mesh
    if platform == "cpu" and dtype == "float32":
        return execution, None
    return execution, make_mesh(MeshConfig(data=1), jax.local_devices()[:1])


def use_compilation_cache(least: float = 0.1) -> None:
    """Keeps compiled programs between runs, in the user's cache folder.

    least: seconds of compiling from which on a program is kept.
    """
    folder = cache_folder()
    # A cache that cannot be written costs time, but is no reason to refuse the command.
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)


def check_dtype(dtype: str) -> None:
    """Raises ValueError for a dtype that networks do not run in."""
    if dtype not in DTYPES:
        raise ValueError(f"networks run in {' or '.join(DTYPES)}, got {dtype!r}")


def read_range(text: str) -> tuple[float, float]:
    """The part of the steps that a text such as "0-0.75" names. Raises ValueError for a text of another form."""
    try:
        first, last = (float(part) for part in text.split("-"))
    except ValueError as error:
        raise ValueError(f"expected FIRST-LAST like 0-0.75, got {text}") from error
    check_film(guidance_range=(first, last))
    return first, last


def read_mesh(text: str | None) -> Mesh | None:
    """The mesh of a text such as "data=2,fsdp=4" over all devices; axes that are not named are 1. None for None.

    Raises:
        ValueError: a text of another form, an unknown axis, or sizes that do not multiply to the number of devices.
    """
    return None if text is None else make_mesh(MeshConfig(**{"data": 1, **parse_sizes(text)}))
