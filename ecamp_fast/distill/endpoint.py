"""Where reports may be sent, and the client that sends them. No other module of this library opens a connection.

Reports are patients' data. They go to this machine and to private addresses, and elsewhere only where an attestation
says what PhysioNet asks of a service: nothing kept, nothing trained on, nobody reads. The address is judged before
anything else is opened; the client connects to no other address than the one that was judged, follows no redirect and
uses no proxy. What a server answers is bounded in size and time, and is never repeated in a message.
"""

import asyncio
import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import urljoin, urlsplit

from ecamp_fast.errors import ConfigError, EcampError, EndpointError, PolicyError
from ecamp_fast.printable import printable
from ecamp_fast.strict_json import parse_object

if TYPE_CHECKING:
    import aiohttp

# RFC 1918 and its like, and nothing else: `ipaddress.is_private` also passes cloud metadata at 169.254.169.254
PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
STATEMENTS = ("zero_retention", "no_training", "no_human_review")
LARGEST = 2**20  # bytes of an answer, and of an attestation
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_CHAT = "/chat/completions"
_HINT = "name a server of this machine or of a private network, as http://127.0.0.1:8000/v1, or give its --attestation"
_WAITS = 600.0  # seconds of a Retry-After, at most
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|maximum.context|max(?:imum)?.?(?:model.?len|input)|too (?:long|many tokens)"
    r"|exceeds? the (?:limit|model)",
    re.IGNORECASE,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Iterable[str]]


# The gate


@dataclass(frozen=True)
class Target:
    """A server that reports may be sent to.

    url          of its chat completions
    origin       scheme, host and port, as messages name it
    host         as the address has it, in small letters
    port         of TCP
    addresses    that the host had when it was judged: no other is connected to
    attestation  SHA-256 of the file that allows it; '' where it is private
    """

    url: str
    origin: str
    host: str
    port: int
    addresses: tuple[str, ...]
    attestation: str = ""


def is_private(address: str) -> bool:
    """Whether an IP address is one of ``PRIVATE``; an IPv4 address that is written as IPv6 is judged as what it is."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return any(parsed.version == network.version and parsed in network for network in PRIVATE)


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name.  Raises EndpointError where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EndpointError(f"{host}: the name is not known ({error.strerror or 'no answer'})", "check it") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def judge_address(
    url: str,
    attestation: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    resolve: Resolve = resolve,
) -> Target:
    """The server that a URL names, if reports may go there.

    url          of the API, as http://127.0.0.1:8000/v1, or of its chat completions
    attestation  a YAML or JSON file with host, zero_retention: true, no_training: true, no_human_review: true
    environment  in which proxy variables are looked for
    resolve      gives the addresses of a name

    Raises PolicyError where it is no plain address, is not private and not attested, where one of its addresses is not
    private, or where a proxy variable would send it through another machine; EndpointError where the name is unknown;
    ConfigError where the attestation cannot be read.
    """
    scheme, host, port, path = _parts(url)
    literal = _literal(host)
    _refuse_proxy(scheme, host, literal, environment)
    addresses = tuple([str(literal)] if literal else resolve(host, port))
    if not addresses:
        raise EndpointError(f"{host}: the name has no address", "check it")
    shown = f"[{host}]" if ":" in host else host
    origin = f"{scheme}://{shown}:{port}"
    outside = [address for address in addresses if not is_private(address)]
    digest = ""
    if outside:
        if attestation is None:
            what = f"{origin} is at {outside[0]}, which is not private: no report is sent there"
            raise PolicyError(what, _HINT)
        digest = read_attestation(attestation, host)
        if scheme != "https":
            raise PolicyError(f"{origin}: without encryption no report leaves a private network", "use https")
    path = path.rstrip("/")
    return Target(f"{origin}{path if path.endswith(_CHAT) else path + _CHAT}", origin, host, port, addresses, digest)


def read_attestation(path: Path, host: str) -> str:
    """SHA-256 of an attestation that allows ``host``.

    Raises ConfigError where it cannot be read; PolicyError where it is of another host, or does not state all of
    ``STATEMENTS`` as true.
    """
    from ecamp_fast.config.yaml import parse_yaml

    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        text = data.decode() if len(data) <= LARGEST else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__})", "name a file of YAML or JSON") from None
    tree = parse_yaml(text, str(path))
    missing = [name for name in STATEMENTS if tree.get(name) is not True]
    if missing:
        raise PolicyError(f"{path} does not state {', '.join(missing)}", "without these no report leaves the network")
    if str(tree.get("host", "")).lower().rstrip(".") != host:
        raise PolicyError(f"{path} is not of the host {host}", "an attestation is of the one host that it names")
    return hashlib.sha256(data).hexdigest()


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path.  Raises PolicyError unless it is a plain address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("no plain address") from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in ("http", "https"):
        raise _refused("only http and https lead to an endpoint")
    if "@" in parts.netloc or "\\" in url:
        raise _refused("an address with a user or a password in it")
    if parts.query or parts.fragment or not url.isascii() or not url.isprintable() or " " in url or "%" in url:
        raise _refused("no plain address of ASCII letters, without query and escapes")
    if port == 0 or not host or parts.netloc.endswith(":"):
        raise _refused("no host, or no port")
    host = host.removesuffix(".")  # the root of names: the same host
    if ":" in host:
        host = _ipv6(host)
    elif not _NAME.fullmatch(host):
        raise _refused("no name of a host")
    return scheme, host, port or (443 if scheme == "https" else 80), parts.path


def _ipv6(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise _refused("no address of IPv6") from None


def _literal(host: str) -> Address | None:
    """The IP address that a host is, None for a name.

    Raises PolicyError for numbers that are none as we write them: 127.1, 0177.0.0.1, 0x7f000001, 2130706433 are
    addresses to the system's resolver.
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
            raise _refused("write an address of IPv4 as four decimal numbers") from None
        return None


def _refused(what: str) -> PolicyError:
    return PolicyError(f"--endpoint: {what}", _HINT)


def _refuse_proxy(scheme: str, host: str, literal: Address | None, environment: Mapping[str, str]) -> None:
    """Raises PolicyError where the environment sends what goes to ``host`` through another machine."""
    named = {name.lower(): name for name, value in environment.items() if value.strip()}
    if any(_bypasses(rule.strip().lower(), host, literal) for rule in _rules(environment)):
        return
    for wanted in (f"{scheme}_proxy", "all_proxy"):
        if wanted in named:
            what = f"{named[wanted]} is set: reports go through no other machine"
            raise PolicyError(what, f"unset it, or name the host in NO_PROXY={host}")


def _rules(environment: Mapping[str, str]) -> list[str]:
    return [
        rule for name, value in environment.items() if name.lower() == "no_proxy" for rule in value.split(",") if rule
    ]


def _bypasses(rule: str, host: str, literal: Address | None) -> bool:
    if literal is not None and "/" in rule:
        try:
            return literal in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    bare = rule.lstrip("*").lstrip(".")
    return rule == "*" or (bool(bare) and (host == bare or host.endswith(f".{bare}")))


# The client


class Answer(NamedTuple):
    """What a server answered.

    text        of the first choice; '' where it has none
    finish      finish_reason; '' where it gave none
    tokens_in   as the server counts them; None where it does not
    tokens_out  likewise
    """

    text: str
    finish: str
    tokens_in: int | None
    tokens_out: int | None


class Unanswered(Exception):
    """A request that brought no answer, and may bring one when it is tried again.

    kind   in a word
    pause  seconds that the server asked to wait; None where it said nothing
    """

    def __init__(self, kind: str, pause: float | None = None) -> None:
        super().__init__(kind)
        self.kind, self.pause = kind, pause


class Declined(Exception):
    """A request that the server will not answer however often it is asked.  kind: "too-long", "bad-request" """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Endpoint:
    """Chat completions of one server. Use as an asynchronous context.

    target      from ``judge_address``
    model       its name there
    max_tokens  of an answer
    timeout     seconds for a whole request
    key         sent as bearer token; '' for none. Never shown.
    """

    def __init__(self, target: Target, model: str, max_tokens: int, timeout: float, key: str = "") -> None:
        self._target, self._timeout = target, timeout
        self._body: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": max_tokens}
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "ecamp-fast"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Endpoint":
        import aiohttp

        connector = aiohttp.TCPConnector(resolver=_judged(self._target), use_dns_cache=False, limit=0, ssl=_verifying())
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # no proxy, no .netrc
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(10.0, self._timeout)),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def ask(self, messages: list[dict[str, str]], schema: dict[str, Any] | None) -> Answer:
        """One request. It is sent once: nothing here tries again.

        Raises Unanswered, Declined; EndpointError where no request of this run can be answered (401, 403, 404, ...);
        PolicyError where the server sends us to where no report may go.
        """
        body = self._body | {"messages": messages}
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        status, headers, data = await self._post(json.dumps(body).encode())
        if status == 200:
            return _answer(data)
        await self._refuse(status, headers, data)

    async def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        import aiohttp

        assert self._session is not None, "use it as a context"
        try:
            async with self._session.post(
                self._target.url, data=body, headers=self._headers, allow_redirects=False
            ) as response:
                data = bytearray()
                async for chunk in response.content.iter_chunked(2**16):
                    data += chunk
                    if len(data) > LARGEST:
                        raise Unanswered("oversized")
                return response.status, response.headers, bytes(data)
        except TimeoutError:
            raise Unanswered("timeout") from None
        except aiohttp.ClientConnectorCertificateError:
            what = f"{self._target.origin}: its certificate is not trusted"
            raise EndpointError(what, "name the authority that signed it in SSL_CERT_FILE") from None
        except aiohttp.ClientConnectorError:
            raise Unanswered("connection") from None
        except (aiohttp.ClientError, OSError, ValueError):  # ValueError: headers that are none
            raise Unanswered("broken") from None

    async def _refuse(self, status: int, headers: Mapping[str, str], data: bytes) -> NoReturn:
        """Raise what a status other than 200 means."""
        if 300 <= status < 400:
            await asyncio.to_thread(self._check_redirect, headers.get("Location", ""))
            raise Unanswered("redirect")
        if status == 429:
            raise Unanswered("busy", _pause(headers.get("Retry-After", "")))
        if status in (408, 425) or status >= 500:
            raise Unanswered("unavailable", _pause(headers.get("Retry-After", "")))
        if status == 413 or (status in (400, 422) and _TOO_LONG.search(data.decode(errors="replace"))):
            raise Declined("too-long")
        if status in (400, 422):
            raise Declined("bad-request")
        hints = {401: "check the key in the variable of --key-env", 403: "check the key in the variable of --key-env"}
        hint = hints.get(status, "check --endpoint (does it end in /v1?) and --model")
        raise EndpointError(f"{self._target.origin} answers with status {status}", hint)

    def _check_redirect(self, location: str) -> None:
        """Nobody follows it; raises PolicyError where it leads to where no report may go."""
        try:
            parts = urlsplit(urljoin(self._target.url, location))
            port = parts.port or (443 if parts.scheme == "https" else 80)
            if (parts.hostname, port) == (self._target.host, self._target.port):
                return
            judge_address(f"{parts.scheme}://{parts.netloc}", None, {})
        except (EcampError, ValueError) as error:
            if isinstance(error, EndpointError):
                return
            what = f"{self._target.origin} sends us on to an address that is not private: nothing was sent there"
            raise PolicyError(what, "ask whoever runs that server") from None


def read_key(variable: str) -> str:
    """The key in a variable of the environment.  Raises ConfigError where there is none, without showing it."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"--key-env: no variable {printable(variable)}", "name the variable that holds the key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"--key-env: {printable(variable)} holds no key", "a key is one word of ASCII letters")
    return key


def _verifying() -> ssl.SSLContext:
    """TLS that verifies; unlike ``ssl.create_default_context`` it writes no keys to a file of SSLKEYLOGFILE."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def _judged(target: Target) -> Any:
    """A resolver that knows the addresses that were judged, and nothing else."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Judged(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            if host.removesuffix(".") != target.host:
                raise OSError(None, "another host than the one that was judged")
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in target.addresses
            ]

        async def close(self) -> None: ...

    return Judged()


def _answer(data: bytes) -> Answer:
    """Raises Unanswered where it is no chat completion."""
    try:
        tree = parse_object(data)
        choice = tree["choices"][0]
        content = choice["message"].get("content")
        if content is not None and not isinstance(content, str):
            raise ValueError("content is no text")
        finish, usage = choice.get("finish_reason"), tree.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        tokens = [count if type(count) is int and 0 <= count < 2**40 else None for count in counts]
        return Answer(content or "", finish if isinstance(finish, str) else "", *tokens)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise Unanswered("unreadable") from None


def _pause(header: str) -> float | None:
    """Seconds that a Retry-After asks for, as a number or as a date; None where it says neither."""
    header = header.strip()
    try:
        seconds = float(header) if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", header) else None
        if seconds is None:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        return min(max(seconds, 0.0), _WAITS)
    except (OverflowError, TypeError, ValueError):
        return None
