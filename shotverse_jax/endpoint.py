"""An OpenAI-compatible endpoint: /chat/completions of any server that speaks it, with tries and waits."""

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Protocol

KEY = "OPENAI_API_KEY"
"""The environment variable of the key, unless another is named."""

TRIES = 3
WAITS = (1.0, 4.0)
"""Seconds before the second and the third try, unless the server says how long."""

LONGEST_WAIT, TIMEOUT, MOST_BYTES = 60.0, 120.0, 8 << 20


MOST_TOKENS = 700
"""Tokens of an answer at most, unless a request says otherwise."""


class NoAnswer(ValueError):
    """The server refuses, or is not there: it will not answer about anything else either."""


class Ask(Protocol):
    """Asks a model."""

    def __call__(self, prompt: str, pictures: Sequence[bytes] = (), **options: Any) -> str:
        """Returns the answer to a text and to PNG or JPEG pictures, in order.

        options: further values of the request, such as temperature, seed and max_tokens.

        Raises:
            ValueError: there is no answer, or it is none.
        """


def is_address(text: str) -> bool:
    """Whether a text is the address of a server, and not the name or folder of a network."""
    return text.startswith(("http://", "https://"))


def endpoint(
    url: str, model: str, key_name: str = KEY, wait: Callable[[float], None] = time.sleep, timeout: float = TIMEOUT
) -> Ask:
    """Returns a function that asks a model.

    A server that is busy or broken (status 408, 409, 429, 5xx) or does not answer in time is asked up to three times.

    Args:
        url: of the interface, such as https://api.openai.com/v1 or http://localhost:8000/v1.
        model: the name that the server knows the model by.
        key_name: the environment variable with the key; where it is not set no key is sent, as local servers want it.
        wait: waits for seconds.
        timeout: seconds after which an answer counts as lost.

    Raises:
        ValueError: the address is none of http or https. The function raises it for an answer that is none, and
            NoAnswer where the server refuses or is not there.
    """
    if not is_address(url):
        raise ValueError(f"an endpoint is an address like http://localhost:8000/v1, got {url!r}")
    address = url.rstrip("/")
    address += "" if address.endswith("/chat/completions") else "/chat/completions"
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(key_name):
        headers["Authorization"] = f"Bearer {key}"

    def ask(prompt: str, pictures: Sequence[bytes] = (), **options: Any) -> str:
        body = _request(model, prompt, pictures, options)
        for number in range(1, TRIES + 1):
            try:
                return _answer(urllib.request.Request(address, body, headers), timeout)
            except _Busy as error:
                if number == TRIES:
                    raise NoAnswer(f"{address} did not answer in {TRIES} tries: {error}") from error
                wait(min(error.seconds or WAITS[number - 1], LONGEST_WAIT))
        raise AssertionError

    return ask


def _request(model: str, prompt: str, pictures: Sequence[bytes], options: dict[str, Any]) -> bytes:
    """The body of a request for one answer."""
    content: list[dict] = [{"type": "text", "text": prompt}]
    for picture in pictures:
        kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": MOST_TOKENS}
    return json.dumps(body | options).encode()


class _Busy(Exception):
    """The server may answer later. seconds: what it asks to wait, 0 where it says nothing."""

    def __init__(self, reason: str, seconds: float = 0.0):
        super().__init__(reason)
        self.seconds = seconds


def _answer(asked: urllib.request.Request, timeout: float) -> str:
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as response:
            data = response.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        said = " ".join(error.read(2000).decode(errors="replace").split())[:200]
        reason = f"status {error.code}, {said or error.reason}"
        if error.code in (408, 409, 429) or error.code >= 500:
            after = error.headers.get("Retry-After", "")
            raise _Busy(reason, float(after) if after.isdigit() else 0.0) from error
        raise NoAnswer(f"{asked.full_url} refused: {reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _Busy(str(getattr(error, "reason", error)) or type(error).__name__) from error
    try:
        text = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{asked.full_url}: the answer is not one of /chat/completions: {data[:80]!r}") from error
    if not isinstance(text, str):
        raise ValueError(f"{asked.full_url}: the answer has no text")
    return text
