"""The client: one request each, no redirect, no proxy, no other address, and what every answer means."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ecamp_fast.distill.endpoint import Answer, Declined, Endpoint, Target, Unanswered, judge_address
from ecamp_fast.errors import EndpointError, PolicyError

SECRET = "zqreport1 Mr Canary"


@pytest.fixture
def ask(server) -> Callable[..., Any]:
    """ask(schema=None, target=None): what one request of the client brings."""

    def run(schema: dict | None = None, target: Target | None = None, timeout: float = 5.0, key: str = "") -> Answer:
        async def once() -> Answer:
            where = target or judge_address(server.url, None, {})
            async with Endpoint(where, "m", 64, timeout, key) as endpoint:
                return await endpoint.ask([{"role": "user", "content": SECRET}], schema)

        return asyncio.run(once())

    return run


def test_a_request_is_what_the_interface_says(ask, server, driver) -> None:
    answer = ask()
    assert answer == Answer(driver.right(SECRET), "stop", len(SECRET) // 5, len(driver.right(SECRET)) // 5)
    (body,) = server.requests
    assert body == {
        "model": "m",
        "temperature": 0,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": SECRET}],
    }
    assert server.paths == ["/v1/chat/completions"] and "authorization" not in server.headers[0].lower()
    ask({"type": "object"}, key="sk-1")
    form = server.requests[1]["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["schema"] == {"type": "object"}
    assert form["json_schema"]["strict"] is True and "Authorization: Bearer sk-1\r\n" in server.headers[1]


@pytest.mark.fault("L1.timeout", "L1.half-closed", "L2.429", "L2.5xx", "L7.redirect")
@pytest.mark.parametrize(
    ("act", "kind", "pause"),
    [
        ("hang", "timeout", None),
        ("half", "broken", None),
        ("close", "broken", None),
        ("big", "oversized", None),
        ("raw:", "unreadable", None),
        ("raw:[]", "unreadable", None),
        ('raw:{"choices": []}', "unreadable", None),
        ('raw:{"choices": [{"message": {"content": 5}}]}', "unreadable", None),
        ('raw:{"choices": [{"message": null}]}', "unreadable", None),
        ("raw:" + "[" * 1000, "unreadable", None),
        ("raw:<html>busy</html>", "unreadable", None),
        ("status:429", "busy", None),
        ("status:429:7", "busy", 7.0),
        ("status:429:1.5", "busy", 1.5),
        ("status:429:100000", "busy", 600.0),
        ("status:429:soon", "busy", None),
        ("status:429:-3", "busy", None),
        ("status:429:Thu, 01 Jan 1970 00:00:00 GMT", "busy", 0.0),
        ("status:503:3", "unavailable", 3.0),
        *((f"status:{code}", "unavailable", None) for code in (408, 425, 500, 502, 503, 504)),
        ("redirect:/elsewhere", "redirect", None),
        ("redirect:", "redirect", None),
        ("redirect:http://10.0.0.1:9/v1", "redirect", None),
    ],
)
def test_what_may_be_tried_again(act: str, kind: str, pause: float | None, ask, server) -> None:
    server.script = lambda number, body: act
    with pytest.raises(Unanswered) as caught:
        ask(timeout=0.3 if act == "hang" else 5.0)
    assert (caught.value.kind, caught.value.pause) == (kind, pause)
    assert len(server.requests) == 1 and "Canary" not in repr(caught.value)


@pytest.mark.fault("L2.too-long", "L2.4xx", "L2.401")
@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        ("too-long", Declined, "too-long"),
        ("status:413", Declined, "too-long"),
        ("status:400", Declined, "bad-request"),
        ("status:422", Declined, "bad-request"),
        ("status:401", EndpointError, "status 401"),
        ("status:403", EndpointError, "status 403"),
        ("status:404", EndpointError, "status 404"),
        ("status:405", EndpointError, "status 405"),
        ("status:418", EndpointError, "status 418"),
    ],
)
def test_what_is_never_tried_again(act: str, error: type, says: str, ask, server) -> None:
    server.script = lambda number, body: act
    with pytest.raises(error, match=says) as caught:
        ask()
    assert len(server.requests) == 1 and "Canary" not in str(caught.value)


@pytest.mark.fault("L7.redirect")
@pytest.mark.parametrize("place", ["https://203.0.113.7/v1", "http://[2606:4700::1]/", "//203.0.113.7/x", "ftp://a"])
def test_a_redirect_to_where_no_report_may_go(place: str, ask, server) -> None:
    server.script = lambda number, body: f"redirect:{place}"
    with pytest.raises(PolicyError, match="sends us on"):
        ask()


@pytest.mark.fault("L1.refused")
def test_nobody_listens(ask, server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unanswered, match="connection"):
        ask(target=judge_address(f"http://127.0.0.1:{port}/v1", None, {}))


@pytest.mark.fault("L1.tls")
def test_a_server_that_does_not_speak_tls(ask, server) -> None:
    with pytest.raises(Unanswered):
        ask(target=judge_address(server.url.replace("http:", "https:"), None, {}), timeout=0.5)


@pytest.mark.fault("L1.tls")
def test_a_certificate_that_nobody_trusts_ends_it(ask, tmp_path) -> None:
    pem = tmp_path / "a.pem"
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "9"]
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*request, *subject, "-keyout", pem, "-out", tmp_path / "b.pem"], check=True, capture_output=True)
    pem.write_bytes((tmp_path / "b.pem").read_bytes() + pem.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    received = b""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            nonlocal received
            connection, _ = listener.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as wrapped:
                    received = wrapped.recv(100)
            except (ssl.SSLError, OSError):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(EndpointError, match="certificate"):
            ask(
                target=judge_address(
                    f"https://localhost:{listener.getsockname()[1]}", None, {}, lambda *_: ["127.0.0.1"]
                )
            )
        thread.join(10)
    assert received == b""


@pytest.mark.fault("L7.name", "L7.rebound")
def test_no_other_address_is_connected_to_than_the_one_that_was_judged(ask, server, monkeypatch) -> None:
    """The name leads elsewhere when it is asked again: nobody asks again."""
    target = judge_address(f"http://llm.ward:{server.port}/v1", None, {}, lambda *_: ["127.0.0.1"])

    def public(*_: object, **__: object) -> list:
        raise AssertionError("the name was asked for again")

    monkeypatch.setattr(socket, "getaddrinfo", public)
    assert ask(target=target).finish == "stop"
    assert f"Host: llm.ward:{server.port}\r\n" in server.headers[0]


@pytest.mark.fault("L7.proxy")
def test_no_proxy_is_used_whatever_the_environment_says(ask, server, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.1)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        ask()
        with pytest.raises(TimeoutError):
            proxy.accept()
    assert len(server.requests) == 1
