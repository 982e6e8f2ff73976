"""Weights: checkpoints of other programs, adapters, records for `verify`, and our own folders of networks."""

import json
import math
import shutil
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import jax
import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from shotverse_jax import weights
from shotverse_jax.config import UMT5Config, WanDiTConfig
from shotverse_jax.conversion import commands, core, lora, prepare, sources, stream, umt5
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.verify import verify_record
from tests.fuzz import mutations
from tests.fuzz.harness import Different, Family, expect

CONFIG = UMT5Config(vocab_size=37, hidden_size=16, num_layers=2, num_heads=2, head_dim=8, mlp_size=16)
CHUNK = 256
"""Bytes of the chunks of converted arrays here, so that small ones have several."""


def network() -> dict[str, Any]:
    """Random parameters of a small text encoder, which bfloat16 holds exactly."""
    rng = np.random.default_rng(0)
    shapes = weights.abstract("text_encoder", CONFIG)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(ml_dtypes.bfloat16).astype(np.float32), shapes)


def tokenizer() -> Path:
    """A tokenizer.json."""
    return weights.find_tokenizer("text_small")


def convert(checkpoint: Path, out: Path) -> None:
    """Converts a text encoder in chunks of `CHUNK` bytes."""
    chunk, stream.CHUNK = stream.CHUNK, CHUNK
    try:
        commands.convert(prepare.prepare(sources.open_checkpoint(checkpoint), "umt5"), out, tokenizer=tokenizer())
    finally:
        stream.CHUNK = chunk


def same_arrays(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Whether two mappings hold the same names, types and bits."""
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype
        and found[name].shape == expected[name].shape
        and found[name].tobytes() == expected[name].tobytes()
        for name in found
    )


# ------------------------------------------------------------------------------------------------- of other programs


class Checkpoints(Family):
    """Checkpoints of other programs: safetensors, PyTorch's zip, shards with an index and without, weights in 8 bits.

    What is accepted is what the plain readers of safetensors and PyTorch find in the files. PyTorch's have checksums:
    of one whose bytes were changed, it is what was written.
    """

    name, share = "checkpoints", 10

    def make(self) -> None:
        """One of each form."""
        import torch

        tensors = core.to_torch(umt5.TABLE, network())
        halves = dict(list(tensors.items())[::2]), dict(list(tensors.items())[1::2])
        save_file(tensors, self._new("one") / "a.safetensors", {"format": "pt", "note": "x"})
        for number, half in enumerate(halves, 1):
            for folder in ("numbered", "indexed"):
                save_file(half, self._new(folder) / f"model-0000{number}-of-00002.safetensors")
        shard_of = {name: f"model-0000{1 + (name in halves[1])}-of-00002.safetensors" for name in tensors}
        index = {"metadata": {"total_size": 1}, "weight_map": shard_of}
        (self.place / "indexed" / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
        held = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
        torch.save({"model": held, "epoch": 3, "args": {"lr": 0.1, "names": ["a"]}}, self._new("torch") / "a.pth")
        torch.save(held, self._new("flat") / "a.bin")
        first = next(name for name in tensors if tensors[name].ndim == 2)
        eight = {name: tensor for name, tensor in tensors.items() if name != first}
        eight[first] = tensors[first].astype(ml_dtypes.float8_e4m3fn)
        eight[f"{first.removesuffix('.weight')}.scale_weight"] = np.float32([0.5])
        save_file(eight, self._new("scaled") / "a.safetensors", {"format": "pt"})
        self.forms = sorted(path.name for path in self.place.iterdir())
        self.others = [path.read_bytes() for path in mutations.files_of(self.place)]
        self.held = held

    def _new(self, name: str) -> Path:
        folder = self.place / name
        folder.mkdir(exist_ok=True)
        return folder

    def damage(self, draw: Random, folder: Path) -> Path:
        """A folder with a checkpoint, or its file."""
        form, self.other_objects = draw.choice(self.forms), False
        shutil.copytree(self.place / form, folder / form)
        files = mutations.files_of(folder / form)
        if form in ("torch", "flat") and draw.random() < 0.4:
            self.other_objects = True
            self._other_objects(draw, files[0])
        elif draw.random() < 0.4:
            mutations.of_folder(folder / form, draw)
        else:
            mutations.of_file(draw.choice(files), draw, [draw.choice(self.others)])
        left = mutations.files_of(folder / form)
        return draw.choice((folder / form, *left))

    def _other_objects(self, draw: Random, path: Path) -> None:
        """PyTorch files that are whole and hold something else than tensors by name."""
        import torch

        held = dict(self.held)
        name = draw.choice(sorted(held))
        tensor = held[name]
        meta = torch.zeros(2**40, dtype=torch.uint8, device="meta")
        odd = [tensor.to_sparse(), tensor.to(torch.complex64), tensor.half(), tensor[:0], torch.tensor(1.0), [tensor]]
        odd += [{"x": tensor}, None, "text", 3, (), torch.zeros(0, 3), tensor.bool(), tensor.T, meta]
        odd += [tensor.to(torch.bfloat16), tensor.to(torch.float64), torch.nn.Parameter(tensor)]
        held[name] = draw.choice(odd)
        if draw.random() < 0.3:
            held[draw.choice((5, ("a", "b"), "", "\x1b", None, 1.5))] = tensor
        if draw.random() < 0.2:
            held["model"] = held
        wrapped = draw.choice((held, {"state_dict": held}, [held], {"a": {"b": {"c": held}}}, {"model": {}, "x": held}))
        torch.save(wrapped, path, _use_new_zipfile_serialization=draw.random() < 0.8)

    def read(self, subject: Path) -> dict[str, np.ndarray]:
        """All tensors, after `inspect` described them."""
        list(commands.inspect(subject))
        source = sources.open_checkpoint(subject)
        return {"files": source.files, **{name: np.array(source[name]) for name in source}}

    def check(self, subject: Path, value: dict[str, Any]) -> None:
        """The plain readers find the same, where nothing is scaled."""
        files, found = value.pop("files"), {}
        if not any("scaled" in file.parts for file in files):
            for file in files:
                found |= self._plain(file) if file.suffix in sources.TORCH_SUFFIXES else load_file(file)
            expect(same_arrays(value, found), "the tensors are others than those of the files")
        if files[0].suffix in sources.TORCH_SUFFIXES and not self.other_objects:
            written = {name: tensor.numpy() for name, tensor in self.held.items()}
            expect(same_arrays(value, written), "the tensors are others than those that were written")

    @staticmethod
    def _plain(file: Path) -> dict[str, np.ndarray]:
        import torch

        held = torch.load(file, map_location="cpu", weights_only=True)
        while not any(map(torch.is_tensor, held.values())):
            inside = (*(held[name] for name in sources.WRAPPERS if name in held), *held.values())
            held = next(part for part in inside if isinstance(part, dict) and part)
        values = {}
        for name, tensor in held.items():
            if torch.is_tensor(tensor):
                short = tensor.dtype == torch.bfloat16
                array = (tensor.view(torch.int16) if short else tensor).detach().numpy()
                values[name] = array.view(ml_dtypes.bfloat16) if short else array
        return values


EXPERT = WanDiTConfig(24, 2, 2, 40, 8, 10, 4, camera=False)


class Adapters(Family):
    """LoRA files in the spellings of several programs, with alpha in the file, in its header and in PEFT's config.

    They carry no digests. What is accepted is finite, has the shapes of the network, and where the file's tensors were
    not changed it is the same change of the weights, times the scale that the file plainly says.
    """

    name, share = "adapters", 8

    def make(self) -> None:
        """A rank-3 adapter of two linears in each spelling."""
        rng = np.random.default_rng(0)
        pair = {"a": rng.normal(size=(3, 24)).astype(np.float32), "b": rng.normal(size=(24, 3)).astype(np.float32)}
        stems = {"comfy": "diffusion_model.blocks.{}.self_attn.q.lora_{}.weight"}
        stems["kohya"] = "lora_unet_blocks_{}_self_attn_q.lora_{}.weight"
        stems["peft"] = "base_model.model.blocks.{}.attn1.to_q.lora_{}.weight"
        for form, stem in stems.items():
            words = ("down", "up") if form == "kohya" else ("A", "B")
            tensors = {stem.format(i, word): pair[part] for i in (0, 1) for part, word in zip("ab", words, strict=True)}
            if form == "kohya":
                tensors |= {f"lora_unet_blocks_{i}_self_attn_q.alpha": np.array(1.5, np.float32) for i in (0, 1)}
            (self.place / form).mkdir()
            header = {"format": "pt", "ss_network_alpha": "1.5"} if form == "comfy" else {"format": "pt"}
            save_file(tensors, self.place / form / "adapter_model.safetensors", header)
        peft = {"peft_type": "LORA", "r": 3, "lora_alpha": 1.5, "alpha_pattern": {}, "use_rslora": False}
        (self.place / "peft" / "adapter_config.json").write_text(json.dumps(peft), encoding="utf-8")
        self.forms = sorted(stems)
        self.whole = {form: lora.read_changes(self.place / form, EXPERT) for form in self.forms}

    def damage(self, draw: Random, folder: Path) -> Path:
        """A folder with an adapter."""
        form = draw.choice(self.forms)
        shutil.copytree(self.place / form, folder / form)
        files = mutations.files_of(folder / form)
        if draw.random() < 0.25:
            tensors = load_file(folder / form / "adapter_model.safetensors")
            name = draw.choice(sorted(tensors))
            array = tensors[name]
            new = (
                array * np.nan,
                array.reshape(-1)[:0],
                array.reshape(-1)[:1],
                array.T,
                array.astype(np.float16),
                array.astype(np.int32),
            )
            new += (np.float32(2), array[None], array * np.float32(1e38) * 10, array.astype(np.uint8), np.zeros(0))
            tensors[draw.choice((name, name, f"x.{name}", name.replace(".weight", ".bias"), "alpha"))] = draw.choice(
                new
            )
            save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, files[-1])
        else:
            mutations.of_folder(folder / form, draw, contents=0.8)
        return draw.choice((folder / form, folder / form / "adapter_model.safetensors"))

    def read(self, subject: Path) -> Any:
        """The changes of an expert."""
        list(commands.inspect(subject))
        return lora.read_changes(subject, EXPERT)

    def check(self, subject: Path, value: Any) -> None:
        """Finite numbers of the network's shapes, and the change that was written."""
        leaves = core.flatten_dict(NETWORKS["wan-dit"].abstract(EXPERT), sep="/")
        for name, delta in value.deltas.items():
            expect(delta.shape == leaves[name].shape and bool(np.isfinite(delta).all()), f"{name} is no change of it")
        products = _products(value)
        for name, product in products.items():
            expect(product.shape == leaves[f"{name}/kernel"].shape, f"{name} has the shape {product.shape}")
            expect(bool(np.isfinite(product).all()), f"{name} is not finite")
        folder = subject if subject.is_dir() else subject.parent
        whole, file = self.place / folder.name, lora.adapter_file(subject)
        if file.is_file() and file.read_bytes() == (whole / "adapter_model.safetensors").read_bytes():
            config = folder / "adapter_config.json"
            changed = config.is_file() != (whole / config.name).is_file()
            changed = changed or (config.is_file() and config.read_bytes() != (whole / config.name).read_bytes())
            for name, expected in _products(self.whole[folder.name]).items():
                # Another config may have another alpha, which scales all of it.
                factor = float((products[name] * expected).sum() / (expected**2).sum()) if changed else 1.0
                expect(np.allclose(products[name], factor * expected), f"{name} is another change")


def _products(changes: Any) -> dict[str, np.ndarray]:
    """Linear → what is added to its kernels."""
    return {
        "/".join(path[:-1]): leaf.scale * np.asarray(leaf.a, np.float64) @ np.asarray(leaf.b, np.float64)
        for path, leaf in core.flatten_dict(changes.adapter).items()
    }


class Records(Family):
    """Records for `verify`: whole archives with another `meta` or other arrays, and damaged archives.

    `verify` says ok only where it compared at least one output, with the values that the file holds.
    """

    name, share = "records", 1.5

    def make(self) -> None:
        """The record of a text encoder."""
        params = network()
        module, _ = weights.KINDS["text_encoder"].build(CONFIG)
        ids = np.array([[3, 5, 7]], np.int32)
        hidden = np.asarray(module.apply({"params": params}, ids, np.ones(ids.shape, bool)))
        tensors = {f"param/{name}": tensor for name, tensor in core.to_torch(umt5.TABLE, params).items()}
        self.arrays = tensors | {"input_ids": ids, "last_hidden": hidden}
        self.meta = {"model": "umt5", "inputs": ["input_ids"], "outputs": ["last_hidden"], "max_distance": 128}
        self._write(self.place / "r.npz", self.meta, self.arrays)

    @staticmethod
    def _write(path: Path, meta: Any, arrays: dict[str, np.ndarray]) -> None:
        np.savez(path, **arrays, meta=np.array(json.dumps(meta)))

    def damage(self, draw: Random, folder: Path) -> Path:
        """The record."""
        path, kind, arrays, meta = folder / "r.npz", draw.randrange(5), dict(self.arrays), self.meta
        if kind < 2:
            path.write_bytes(mutations.of_bytes((self.place / "r.npz").read_bytes(), draw))
            return path
        if kind == 2:
            meta = mutations.of_json(meta, draw)
        if kind == 3:
            name = draw.choice(("input_ids", "last_hidden", draw.choice(sorted(arrays))))
            array = arrays.pop(name)
            if draw.random() < 0.9:
                odd = [array[:0], array.astype(np.float64), array.astype("U1"), array.astype(bool), array[None], -array]
                odd += [np.full_like(array, 99), array.astype(np.complex64), array.T, array.astype(np.float16)]
                arrays[draw.choice((name, name, name, f"{name}x"))] = draw.choice(odd)
        self._write(path, meta, arrays)
        if kind == 4:
            with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
                name = draw.choice(("meta.npy", "x.npy", "../x.npy", "last_hidden.npy", "x.txt"))
                archive.writestr(name, draw.choice((b"", bytes(1 << 20), b"\x93NUMPY\x01\x00v\x00", b"x" * 200)))
        return path

    def read(self, subject: Path) -> Any:
        """The report."""
        return verify_record(subject)

    def check(self, subject: Path, value: Any) -> None:
        """What is called ok was compared."""
        if value.ok:
            expect(len(value.outputs) > 0, "nothing was compared, and it is called ok")
            with np.load(subject) as file:
                meta = json.loads(str(file["meta"]))
                expect(
                    [output.name for output in value.outputs] == list(meta["outputs"]), "other outputs were compared"
                )
                expect(all(math.isfinite(output.max_abs) for output in value.outputs), "a difference is not finite")
                same = np.allclose(file["last_hidden"], self.arrays["last_hidden"], atol=1e-2)
                expect(same or file["input_ids"].tolist() != self.arrays["input_ids"].tolist(), "it is another output")


# ------------------------------------------------------------------------------------------------- our own folders


class Folders(Family):
    """Folders of networks: as exports write them, as conversions do, and one that ships, found by its name.

    Their weights have digests, so what is accepted is every bit of what was written. A field of config.json that was
    changed and accepted has the value that the file says.
    """

    name, share = "folders", 8

    def make(self) -> None:
        """A text encoder as a file and as arrays of several chunks, and a copy of a shipped network."""
        params = network()
        weights.export("text_encoder", params, CONFIG, self.place / "file", tokenizer_file=tokenizer())
        save_file(core.to_torch(umt5.TABLE, params), self.place / "torch.safetensors")
        convert(self.place / "torch.safetensors", self.place / "arrays")
        shutil.copytree(weights.find("pose_net", "pose_small"), self.place / "shipped")
        self.kinds = {"file": "text_encoder", "arrays": "text_encoder", "shipped": "pose_net"}
        self.whole = {form: weights.load(kind, self.place / form) for form, kind in self.kinds.items()}

    def damage(self, draw: Random, folder: Path) -> tuple[str, Path]:
        """(the form, the folder)."""
        form = draw.choice(("file", "arrays", "arrays", "shipped"))
        shutil.copytree(self.place / form, folder / form)
        files = mutations.files_of(folder / form)
        if draw.random() < 0.5:  # others than the many chunks
            files = [file for file in files if file.parent == folder / form]
        if draw.random() < 0.2:  # folders of earlier versions have no digests; they are no part of the promise
            files = [file for file in files if file.suffix == ".json"] or files
        mutations.of_folder(folder / form, draw, [file for file in files if file.name != "README.md"])
        return form, folder / form

    def read(self, subject: tuple[str, Path]) -> Any:
        """What `load` gives."""
        form, folder = subject
        return weights.load(self.kinds[form], folder)

    def check(self, subject: tuple[str, Path], value: Any) -> None:
        """The same bits, and the config of the file."""
        form, folder = subject
        ours, theirs = (core.flatten_dict(tree, sep="/") for tree in (value.params, self.whole[form].params))
        expect(same_arrays(ours, theirs), "a parameter is another one")
        said = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
        values = json.loads(json.dumps(weights.folder.values_of("", value.config)))
        for name, field in said.items():
            expect(name == "kind" or values[name] == field, f"{name} is {values[name]}, the file says {field}")


class Journals(Family):
    """Conversions that were stopped, and whose journal or finished arrays somebody changed.

    When it is started again, a conversion ends in the same bytes as one that was never stopped, whatever was changed;
    it has the checkpoint.
    """

    name, share, refuses = "journals", 1.5, False

    def make(self) -> None:
        """A checkpoint, its conversion, and a conversion that was stopped half-way."""
        save_file(core.to_torch(umt5.TABLE, network()), self.place / "torch.safetensors")
        convert(self.place / "torch.safetensors", self.place / "out")
        self.expected = self._contents(self.place / "out")
        (self.place / "half").mkdir()
        write, written = stream._write_array, []

        def stopped(*args):
            written.append(args)
            if len(written) == 6:
                raise KeyboardInterrupt
            return write(*args)

        stream._write_array = stopped
        try:
            convert(self.place / "torch.safetensors", self.place / "half" / "out")
        except KeyboardInterrupt:
            pass
        finally:
            stream._write_array = write

    @staticmethod
    def _contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in mutations.files_of(folder)}

    def damage(self, draw: Random, folder: Path) -> Path:
        """A folder in which the conversion is half-way."""
        shutil.copytree(self.place / "half", folder / "half")
        files = mutations.files_of(folder / "half")
        if draw.random() < 0.5:
            files = [file for file in files if file.name == stream.JOURNAL]
        mutations.of_folder(folder / "half", draw, files)
        return folder / "half" / "out"

    def read(self, subject: Path) -> Path:
        """Goes on."""
        convert(self.place / "torch.safetensors", subject)
        return subject

    def check(self, subject: Path, value: Path) -> None:
        """The bytes of an uninterrupted conversion."""
        found = self._contents(value)
        other = sorted(name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name))
        if other:
            raise Different(f"other files than of a conversion that was not stopped: {', '.join(other)}")
