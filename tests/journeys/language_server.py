"""A stand-in for a server of language models on this machine: answers each report with what the rules make of it."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.journeys.harness import Walk


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": answer(asked["messages"])}
        reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        self._send(reply | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}})

    def do_GET(self) -> None:
        self._send({"data": [{"id": "NAME"}]})

    def _send(self, reply: dict[str, Any]) -> None:
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """A server that keeps reports out of its log."""


def answer(messages: list[dict[str, str]]) -> str:
    """What the rules say of the report that is asked about, in the form that is asked for."""
    from ecamp_fast.distill.answers import read_sentence
    from ecamp_fast.distill.by_rules import distill_report

    asked = messages[-1]["content"]
    marked = re.search(r"—Report—\n(.*)\n—Report END—", asked, re.DOTALL)
    plain = re.search(r"Given the report: (.*)\nEntities:", asked, re.DOTALL)
    found = marked or plain
    text = distill_report(found[1]) if found else ""
    if not marked:
        return text
    items = [item for one in re.findall(r"[^.]+\.", text) for item in read_sentence(one.strip())]
    told = [{"entity": item.entity, "state": str(item.state), "adjectives": list(item.words)} for item in items]
    return json.dumps({"statements": told})


@contextlib.contextmanager
def served(walk: Walk) -> Iterator[str]:
    """Its address: http://127.0.0.1:PORT/v1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
