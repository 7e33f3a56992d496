"""Where reports may go: private addresses, attested hosts, and nowhere else, however the address is written."""

import hashlib
from pathlib import Path

import pytest

from ecamp_fast.distill.endpoint import is_private, judge_address, read_key
from ecamp_fast.errors import ConfigError, EndpointError, PolicyError

HOSTS = {
    "llm.ward": ["10.1.2.3"],
    "llm.example": ["203.0.113.7"],
    "both.example": ["10.1.2.3", "203.0.113.7"],
    "mapped.example": ["::ffff:203.0.113.7"],
    "localhost": ["127.0.0.1", "::1"],
    "empty.example": [],
}
ATTESTED = "host: {host}\nzero_retention: true\nno_training: true\nno_human_review: true\n"


def judge(url: str, attestation: Path | None = None, **environment: str):
    return judge_address(url, attestation, environment, lambda host, port: HOSTS[host])


@pytest.mark.fault("L7.private")
@pytest.mark.parametrize(
    ("address", "private"),
    [
        *((a, True) for a in ("127.0.0.1", "127.255.255.255", "::1", "10.0.0.0", "10.255.255.255", "172.16.0.0")),
        *((a, True) for a in ("172.31.255.255", "192.168.0.0", "192.168.255.255", "fc00::", "fdff:ffff::1")),
        *((a, False) for a in ("126.255.255.255", "128.0.0.0", "::", "::2", "9.255.255.255", "11.0.0.0")),
        *((a, False) for a in ("172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "fbff::1", "fe00::")),
        # what ipaddress calls private, or what is not routed: metadata of clouds, documentation, carriers, tests
        *((a, False) for a in ("169.254.169.254", "192.0.2.1", "198.51.100.1", "203.0.113.1", "100.64.0.1")),
        *((a, False) for a in ("198.18.0.1", "0.0.0.0", "255.255.255.255", "fe80::1", "2001:db8::1", "240.0.0.1")),
        *((a, False) for a in ("64:ff9b::10.0.0.1", "2002:0a00:0001::1", "8.8.8.8", "2606:4700::1111")),
        *((a, p) for a, p in (("::ffff:127.0.0.1", True), ("::ffff:10.0.0.1", True), ("::ffff:8.8.8.8", False))),
        *((a, False) for a in ("::10.0.0.1", "::127.0.0.1")),  # IPv4-compatible: an address of IPv6
    ],
)
def test_private_means_these_networks_and_no_other(address: str, private: bool) -> None:
    assert is_private(address) is private


@pytest.mark.fault("L7.private", "L7.dry-run")
@pytest.mark.parametrize(
    ("url", "sent_to", "addresses"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/chat/completions", ("127.0.0.1",)),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/chat/completions", ("127.0.0.1",)),
        ("http://127.0.0.1/v1/chat/completions", "http://127.0.0.1:80/v1/chat/completions", ("127.0.0.1",)),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions", ("::1",)),
        ("http://[0:0::1]:8000", "http://[::1]:8000/chat/completions", ("::1",)),
        ("https://LLM.Ward/v1", "https://llm.ward:443/v1/chat/completions", ("10.1.2.3",)),
        ("http://llm.ward.:1/v1", "http://llm.ward:1/v1/chat/completions", ("10.1.2.3",)),
        ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions", ("127.0.0.1", "::1")),
    ],
)
def test_a_private_server(url: str, sent_to: str, addresses: tuple[str, ...]) -> None:
    target = judge(url)
    assert (target.url, target.addresses, target.attestation) == (sent_to, addresses, "")


@pytest.mark.fault("L7.public", "L7.written")
@pytest.mark.parametrize(
    "url",
    [
        "https://203.0.113.7/v1",
        "http://169.254.169.254/latest",
        "https://[::ffff:8.8.8.8]/v1",
        "https://[2606:4700::1111]/v1",
        "https://llm.example/v1",
        "https://llm.example./v1",
        "https://both.example/v1",  # one private address of two is not enough
        "https://mapped.example/v1",
        "http://0.0.0.0:8000/v1",
        # forms that the system's resolver takes for addresses
        *(f"http://{host}:8000/v1" for host in ("2130706433", "134744072", "0x7f000001", "0x08080808", "017700000001")),
        *(f"http://{host}:8000/v1" for host in ("127.1", "0177.0.0.1", "0x7f.0.0.1", "8.8.2056", "127.0.0.01")),
        *(f"http://{host}:8000/v1" for host in ("1.2.3.4.5", "127.0.0.1..", "a..b", ".", "-a", "a b", "llm.ward%2e")),
        # users, escapes, other letters, other schemes
        "http://127.0.0.1@203.0.113.7/v1",
        "http://user:secret@127.0.0.1:8000/v1",
        "http://203.0.113.7\\@127.0.0.1/v1",
        "http://127.0.0.1\t.example/v1",
        " http://127.0.0.1/v1",
        "http://127.0.0.1:8000/v1?key=secret",
        "http://127.0.0.1:8000/v1#a",
        "http://１２７.0.0.1/v1",
        "http://127。0。0。1/v1",
        "http://klinik-münchen.example/v1",
        "http://[::1%25lo]/v1",
        "http://[::1/v1",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:0/v1",
        "http://127.0.0.1:/v1",
        "http:///v1",
        "ftp://127.0.0.1/v1",
        "file:///etc/passwd",
        "127.0.0.1:8000",
        "",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(PolicyError) as caught:
        judge(url)
    assert "secret" not in str(caught.value) and caught.value.hint


@pytest.mark.fault("L1.dns")
def test_a_name_that_nobody_knows_is_an_endpoint_that_is_not_there() -> None:
    with pytest.raises(EndpointError, match="no address"):
        judge("http://empty.example/v1")
    with pytest.raises(EndpointError, match="not known"):
        judge_address("http://does-not-exist.invalid/v1", None, {})


@pytest.mark.fault("L7.proxy")
@pytest.mark.parametrize(
    ("url", "environment", "refused"),
    [
        ("http://127.0.0.1:8000", {"HTTP_PROXY": "http://203.0.113.7:3128"}, True),
        ("http://127.0.0.1:8000", {"http_proxy": "http://10.0.0.1:3128"}, True),
        ("http://127.0.0.1:8000", {"ALL_PROXY": "socks5://203.0.113.7"}, True),
        ("https://127.0.0.1:8000", {"https_proxy": "http://203.0.113.7:3128"}, True),
        ("https://127.0.0.1:8000", {"http_proxy": "http://203.0.113.7:3128"}, False),
        ("http://127.0.0.1:8000", {"http_proxy": " "}, False),
        ("http://127.0.0.1:8000", {"http_proxy": "http://p", "no_proxy": "a, 127.0.0.1"}, False),
        ("http://127.0.0.1:8000", {"http_proxy": "http://p", "NO_PROXY": "127.0.0.0/8"}, False),
        ("http://127.0.0.1:8000", {"http_proxy": "http://p", "NO_PROXY": "10.0.0.0/8"}, True),
        ("http://llm.ward:8000", {"http_proxy": "http://p", "NO_PROXY": ".ward"}, False),
        ("http://llm.ward:8000", {"http_proxy": "http://p", "NO_PROXY": "*"}, False),
        ("http://llm.ward:8000", {"http_proxy": "http://p", "NO_PROXY": "ard"}, True),
        ("http://llm.ward:8000", {"http_proxy": "http://p", "NO_PROXY": ""}, True),
    ],
)
def test_a_proxy_is_another_machine(url: str, environment: dict[str, str], refused: bool) -> None:
    if refused:
        with pytest.raises(PolicyError, match=r"(?i)_proxy is set"):
            judge(url, **environment)
    else:
        assert judge(url, **environment).port == 8000


@pytest.mark.fault("L7.attested")
def test_an_attestation_allows_the_host_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(ATTESTED.format(host="llm.example"))
    target = judge("https://llm.example/v1", path)
    assert target.attestation == hashlib.sha256(path.read_bytes()).hexdigest()
    assert target.addresses == ("203.0.113.7",)
    for url in ("https://both.example/v1", "https://203.0.113.7/v1", "http://llm.example/v1"):
        with pytest.raises(PolicyError):
            judge(url, path)
    assert judge("http://127.0.0.1:1/v1", path).attestation == ""  # it is not needed there


@pytest.mark.fault("L7.attested")
@pytest.mark.parametrize("missing", ["zero_retention", "no_training", "no_human_review", "host"])
@pytest.mark.parametrize("value", ["", "false", '"true"', "1"])
def test_an_attestation_states_all_of_it(missing: str, value: str, tmp_path: Path) -> None:
    lines = ATTESTED.format(host="llm.example").splitlines()
    kept = [line for line in lines if not line.startswith(missing)] + ([f"{missing}: {value}"] if value else [])
    (tmp_path / "a.yaml").write_text("\n".join(kept))
    with pytest.raises(PolicyError):
        judge("https://llm.example/v1", tmp_path / "a.yaml")


@pytest.mark.parametrize("data", [b"\xff", b"a: [", b"- a", None])
def test_an_attestation_that_cannot_be_read(data: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError):
        judge("https://llm.example/v1", path)


def test_a_key_is_read_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_KEY", " sk-secret\n")
    assert read_key("LLM_KEY") == "sk-secret"
    for value in ("", "two secret words", "sk-secret\r\nX: y", "sécret"):
        monkeypatch.setenv("LLM_KEY", value)
        with pytest.raises(ConfigError) as caught:
            read_key("LLM_KEY")
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError):
        read_key("NO_SUCH_KEY")
