"""A stand-in for the hub on loopback: the few answers that huggingface_hub asks for, and everything that goes wrong."""

import hashlib
import http.server
import json
import re
import threading
from pathlib import Path

import pytest

COMMIT = "c0ffee" + "0" * 34


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


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub without repositories, which huggingface_hub asks; its cache and ours are below tmp_path."""
    from huggingface_hub import constants, file_download

    server = StandInHub()
    places = {"HF_ENDPOINT": server.url, "HF_HUB_CACHE": tmp_path / "hub", "SHOTVERSE_CACHE": tmp_path / "cache"}
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # It read these when it was imported.
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # what it reads at once; it goes on after such a piece
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)  # between its tries
    yield server
    server.close()


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder and what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(name="tree")
def tree_fixture():
    """tree(folder) → file → bytes; see the function."""
    return tree
