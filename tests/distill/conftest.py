"""A server of language models that does what it is told, wrong things too, and counts what it was asked."""

import asyncio
import contextlib
import importlib.util
import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

_DRIVER = Path(__file__).with_name("driver.py")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(scope="session")
def driver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("distill_driver", _DRIVER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["distill_driver"] = module
    spec.loader.exec_module(module)
    return module


class FakeServer:
    """Answers ``POST`` as ``script(request number, body)`` says: one of

    "ok"                     what the driver takes for right
    "text:..."               another text; "length:..." one that was cut off
    "status:CODE[:AFTER]"    with a body that holds the prompt, as servers do; AFTER: its Retry-After
    "too-long"               400, as a server says it whose context is full
    "redirect:LOCATION"      307
    "hang", "half", "close"  no answer; half of one; the connection closed
    "raw:..."                this body, with status 200
    "big"                    two megabytes

    requests  bodies, in order   times  of their arrival   headers  likewise
    spent     tokens of all that it generated   ideal  without what was generated twice
    """

    def __init__(self, driver: ModuleType) -> None:
        self.script: Callable[[int, dict], str] = lambda number, body: "ok"
        self.latency = 0.0
        self.requests: list[dict] = []
        self.times: list[float] = []
        self.headers: list[str] = []
        self.paths: list[str] = []
        self.spent = self.ideal = 0
        self.right: Counter[str] = Counter()
        self.busy = self.busiest = 0
        self.port = 0
        self._driver = driver
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(asyncio.sleep(0))
        server.close()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.busy += 1
                self.busiest = max(self.busiest, self.busy)
                try:
                    if not await self._act(head, body, writer):
                        break
                finally:
                    self.busy -= 1
        writer.close()

    async def _act(self, head: str, body: dict, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        number = len(self.requests)
        self.requests.append(body)
        self.times.append(self._loop.time())
        self.headers.append(head)
        self.paths.append(head.split()[1])
        if self.latency:
            await asyncio.sleep(self.latency)
        what, _, more = self.script(number, body).partition(":")
        prompt = body["messages"][0]["content"]
        if what in ("status", "too-long", "redirect", "close"):
            status, _, after = {"redirect": "307", "too-long": "400"}.get(what, more).partition(":")
            if what == "close":
                return False
            extra = f"Retry-After: {after}\r\n" if after else ""
            extra += f"Location: {more}\r\n" if what == "redirect" else ""
            told = "maximum context length is 8 tokens" if what == "too-long" else "wrong"
            writer.write(_response(status, json.dumps({"error": {"message": f"{told}: {prompt}"}}), extra))
            await writer.drain()
            return True
        text = more if what in ("text", "length") else self._driver.right(prompt)
        tokens = [sum(len(m["content"]) for m in body["messages"]) // 5, len(text) // 5]
        self.spent += sum(tokens)
        if what == "ok":
            self.right[prompt] += 1
        self.ideal += sum(tokens) if what != "ok" or self.right[prompt] == 1 else 0
        if what == "hang":
            await asyncio.sleep(60)
        finish = "length" if what == "length" else "stop"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        answer = json.dumps({"choices": [choice], "usage": usage})
        answer = more if what == "raw" else " " * 2**21 if what == "big" else answer
        response = _response("200", answer)
        writer.write(response[: -len(answer) // 2] if what == "half" else response)
        await writer.drain()
        return what != "half"


def _response(status: str, body: str, extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n{extra}\r\n"
    )
    return (head + body).encode()


@pytest.fixture
def server(driver: ModuleType) -> Iterator[FakeServer]:
    found = FakeServer(driver)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Seeded by the test's name."""
    return random.Random(request.node.name)
