"""A stand-in for the hub on loopback: the few answers that huggingface_hub asks for, and everything that goes wrong."""

import functools
import hashlib
import http.server
import json
import re
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from shotverse_jax import weights
from shotverse_jax.config import UMT5Config, WanDiTConfig, WanVAEConfig
from shotverse_jax.conversion import core
from shotverse_jax.conversion.networks import NETWORKS

COMMIT = "c0ffee" + "0" * 34
DIT = WanDiTConfig(16, 2, 1, 20, 8, 8, 4, rope="wan3d", camera=False)
UMT5 = UMT5Config(vocab_size=4096, hidden_size=8, num_layers=2, num_heads=2, head_dim=4, mlp_size=12)
VAE = WanVAEConfig(4, 4, (1, 2), 1, (True,), latent_mean=(0.1,) * 4, latent_std=(0.9,) * 4)
VAE_VALUES = json.dumps({"latents_mean": [0.1] * 4, "latents_std": [0.9] * 4}).encode()
WAN, PARTS, HOLOCINE = "Wan-AI/Wan2.2-T2V-A14B", "Wan-AI/Wan2.2-T2V-A14B-Diffusers", "hlwang06/HoloCine"
TEXT = "text_encoder/model-{}-of-00002.safetensors"


class StandInHub:
    """Repositories in memory, behind a server.

    Attributes:
        url: What HF_ENDPOINT is set to.
        repositories: Name → file → bytes.
        lies: File → bytes that are sent in place of its own.
        cut: Numbers of bytes after which the next answers with a file are cut off.
        down: No request is answered.
        stop_after: Number of requests after which it goes down; None for never.
        refuse: (status, X-Error-Code) of every answer about a file; None for none.
        at: File → function that is called with the bytes sent so far; the file goes out in small pieces then.
        asked: The requests, as "GET /path" and, of a part, the first byte.
    """

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.lies, self.cut, self.at, self.asked = {}, [], {}, []
        self.down, self.stop_after, self.refuse = False, None, None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                outer.answer(self)

            def do_GET(self):
                outer.answer(self)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # whoever asked went away
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        self.asked.append(f"{request.command} {request.path} {request.headers.get('Range', '')}".strip())
        self.down = self.down or (self.stop_after is not None and len(self.asked) > self.stop_after)
        if self.down:
            request.close_connection = True
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^?]+)\?blobs=.*", request.path):
            self._describe(request, *match.groups())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path):
            self._send(request, *match.groups())
        else:
            self._refuse(request, 404, "EntryNotFound")

    def _describe(self, request, repository, revision):
        files = self.repositories.get(repository)
        if files is None:
            self._refuse(request, 401, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._refuse(request, 404, "RevisionNotFound")
        else:
            siblings = [self._sibling(name, data) for name, data in files.items()]
            values = {"id": repository, "sha": COMMIT, "siblings": siblings, "tags": ["license:test-1.0"]}
            body = json.dumps(values).encode()
            self._begin(request, 200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
            request.wfile.write(body)

    @staticmethod
    def _sibling(name, data):
        values = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
        if is_large(name):
            values["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return values

    def _send(self, request, repository, revision, name):
        data = self.repositories.get(repository, {}).get(name)
        if self.refuse is not None:
            return self._refuse(request, *self.refuse)
        if data is None or revision != COMMIT:
            return self._refuse(request, 404, "EntryNotFound")
        etag = hashlib.sha256(data).hexdigest() if is_large(name) else git_sha1(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if is_large(name):
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        data, start = self.lies.get(name, data), 0
        if asked := re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")):
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._begin(request, 206 if asked else 200, headers | {"Content-Length": str(len(data) - start)})
        if request.command == "GET":
            self._body(request, name, data[start:])
        return None

    def _body(self, request, name, body):
        if self.cut:
            request.wfile.write(body[: self.cut.pop(0)])
            request.close_connection = True
            return
        step = 1000 if name in self.at else max(1, len(body))
        for begin in range(0, len(body), step):
            request.wfile.write(body[begin : begin + step])
            request.wfile.flush()
            if name in self.at:
                self.at[name](begin + step)

    @staticmethod
    def _begin(request, status, headers):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()

    def _refuse(self, request, status, code):
        self._begin(request, status, {"X-Error-Code": code, "Content-Length": "0"})


def is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".ckpt", "tokenizer.json"))


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pieces(url: str, cache: Path) -> list[tuple[Any, str, Any]]:
    """(owner, name, value) of what huggingface_hub read of its environment when it was imported, for this hub."""
    from huggingface_hub import constants, file_download

    return [
        (constants, "ENDPOINT", url),
        (constants, "HF_HUB_CACHE", str(cache)),
        (constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"),
        (constants, "DOWNLOAD_CHUNK_SIZE", 500),  # what it reads at once; it goes on after such a piece
        (file_download.time, "sleep", lambda _: None),  # between its tries
    ]


def variables(url: str, cache: Path) -> dict[str, str]:
    """What a process needs in its environment to ask this hub."""
    return {"HF_ENDPOINT": url, "HF_HUB_CACHE": str(cache), "NO_PROXY": "127.0.0.1"}


@functools.cache
def tensors(name, config, style=None, seed=0):
    """Random tensors with the names of a style."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), NETWORKS[name].abstract(config))
    return core.to_torch(NETWORKS[name].table(config, style), params)


def sharded(path, held):
    """The files of a checkpoint in two shards with their index."""
    names, shards = sorted(held), [path.format(f"0000{i}") for i in (1, 2)]
    files = {shard: save({n: held[n] for n in names[i::2]}) for i, shard in enumerate(shards)}
    weight_map = {name: shards[i % 2].split("/")[-1] for i, name in enumerate(names)}
    index = path.replace("-{}-of-00002", "") + ".index.json"
    return files | {index: json.dumps({"weight_map": weight_map}).encode()}


def repositories() -> dict[str, dict[str, bytes]]:
    """Small checkpoints under the names that the real repositories have."""
    tokenizer = weights.find_tokenizer("planner_small").read_bytes()
    experts = {side: tensors("holocine", DIT, seed=seed) for seed, side in enumerate(("high", "low"))}
    wan = "{}_noise_model/diffusion_pytorch_model"
    return {
        HOLOCINE: {"README.md": b"-" * 9}
        | {
            f"HoloCine_dit/{kind}/{kind}_{s}_noise.safetensors": save(t)
            for kind in ("full", "sparse")
            for s, t in experts.items()
        },
        PARTS: {"tokenizer/tokenizer.json": tokenizer, "vae/config.json": VAE_VALUES}
        | sharded(TEXT, tensors("umt5", UMT5, "transformers"))
        | {"vae/diffusion_pytorch_model.safetensors": save(tensors("wan-vae", VAE, "diffusers"))},
        WAN: {f"{side}_noise_model/config.json": b'{"num_heads": 1}' for side in experts}
        | {
            k: v
            for side, t in experts.items()
            for k, v in sharded(wan.format(side) + "-{}-of-00002.safetensors", t).items()
        },
    }
