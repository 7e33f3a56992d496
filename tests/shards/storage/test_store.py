"""Sets behind an address: the same bytes as from a folder, whatever the network does; and which addresses are none."""

import os
import pickle
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from ecamp_fast.errors import DataError, EnvironmentFault, PolicyError, StorageError
from ecamp_fast.shards.check.verify import inspect
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.storage import block_cache, remote
from ecamp_fast.shards.storage.address import folder_of, may_lead, parse_address

REFUSED = [
    *("pipe:cat /etc/passwd", "pipe:curl https://a/b", "file:///etc", "file:x", "ftp://a/b", "ssh://a/b", "data:,x"),
    *("http://example.org/set", "http://169.254.169.254/x", "http://127.0.0.1.example.org/x", "HTTP://example.org/x"),
    *("simplecache::s3://a/b", "s3://a/b::file:///etc", "https://h/a*", "s3://b/[ab]", "s3://b/{a,b}", "s3://b/a?x=1"),
    *("https://h/$(id)", "https://h/a b", "https://h/`id`", "https://h/a|id", "https://h/a;id", "https://h/../x"),
    *(
        "s3:bucket/x",
        "https:///x",
        "https:host",
        "https://user:secret@host/x",
        "memory://x",
        "https://h/a\nb",
        "https://[h/x",
        "https://h/[::1]",
        "s3://[::1]/x",
        "http://[2001:db8::1]/x",
        "https://[::1]::file:///etc",
    ),
]


@pytest.mark.parametrize("named", REFUSED)
def test_other_addresses_are_refused_before_anything_is_opened(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "open_filesystem", lambda address: pytest.fail("opened"))
    with pytest.raises(PolicyError) as caught:
        ShardSet(named)
    assert caught.value.exit_code == 8 and caught.value.hint
    assert "secret" not in str(caught.value) and "\n" not in caught.value.what


@pytest.mark.parametrize(
    "named",
    [
        *("s3://bucket/a/set", "gs://bucket/set/", "https://host:8443/a/set-1", "http://localhost:80/s"),
        *("https://[::1]:8443/set", "http://[::1]/set", "https://[2001:db8::1]/set"),
    ],
)
def test_addresses_of_stores(named: str) -> None:
    assert parse_address(named) == named.rstrip("/")
    with pytest.raises(PolicyError, match="written into folders"):
        folder_of(named)


@pytest.mark.parametrize(
    "source, target, may",
    [
        ("https://a/x", "https://b/x?sig=1", True),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x?sig=1", True),
        ("http://127.0.0.1/x", "https://b/x", True),
        ("https://a/x", "http://b/x", False),
        ("https://a/x", "http://127.0.0.1/x", False),
        ("http://127.0.0.1/x", "http://169.254.169.254/x", False),
        ("https://a/x", "file:///etc/passwd", False),
    ],
)
def test_where_a_web_server_may_send_us(source: str, target: str, may: bool) -> None:
    assert may_lead(source, target) is may


@pytest.mark.parametrize("named", ["a/b", "/a/b", ".", "../x", "./a:b"])
def test_folders_are_no_addresses(named: str) -> None:
    assert parse_address(named) is None and folder_of(named) == Path(named)
    assert parse_address(Path("pipe:x")) is None


def test_a_missing_driver_is_named_with_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(EnvironmentFault, match=r"s3fs.*\n.*pip install"):
        remote.open_filesystem("s3://bucket/set")


class Faults:
    """What the server does to the next requests of a file.  seen: requests by method and name"""

    def __init__(self) -> None:
        self.status: dict[str, list[int]] = {}  # name -> statuses of its next answers
        self.cut: Counter[str] = Counter()  # name -> answers that end half-way
        self.whole_files = False  # ranges are ignored
        self.delay = 0.0  # seconds before each answer
        self.crowd, self.waiting, self.met = 0, 0, threading.Event()  # who asks waits until so many do, or 20 s
        self.elsewhere: dict[str, str] = {}  # name -> where its readers are sent
        self.seen: Counter[tuple[str, str]] = Counter()
        self.encodings: set[str | None] = set()  # that clients would take
        self.sent = 0  # bytes
        self._lock = threading.Lock()

    def wait(self) -> None:
        time.sleep(self.delay)
        with self._lock:
            self.waiting += 1
            if self.waiting >= self.crowd:
                self.met.set()
        self.met.wait(20)
        with self._lock:
            self.waiting -= 1


class Server(ThreadingTCPServer):
    """Files of a folder over HTTP, with ranges, to this machine alone."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder, self.faults = folder, Faults()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class Answer(StreamRequestHandler):
    """To one request; the connection ends with it."""

    server: Server

    def handle(self) -> None:
        method, path, _ = self.rfile.readline().decode().split()
        lines = iter(self.rfile.readline, b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in lines)}
        name, faults = path.lstrip("/"), self.server.faults
        name = name.partition("?")[0]
        faults.seen[method, name] += 1
        faults.encodings.add(headers.get("accept-encoding"))
        if name in faults.elsewhere:
            head = f"Location: {faults.elsewhere[name]}\r\nContent-Length: 0"
            self.wfile.write(f"HTTP/1.1 302 x\r\nConnection: close\r\n{head}\r\n\r\n".encode())
            return
        faults.wait()
        file = self.server.folder / name
        status = faults.status[name].pop(0) if faults.status.get(name) else 200
        if status == 200 and not file.is_file():
            status = 404
        data = file.read_bytes() if status == 200 else b"no"
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        if asked and status == 200 and not faults.whole_files:
            status, data = 206, data[int(asked[1]) : int(asked[2]) + 1]
        self.wfile.write(f"HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        if method == "GET":
            if faults.cut[name] > 0:
                faults.cut[name] -= 1
                data = data[: len(data) // 2]
            faults.sent += len(data)  # before the client can have it
            self.wfile.write(data)


@pytest.fixture
def server(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves a copy of ``phantom_set`` at ``url``; the cache is empty, blocks are small, waits are short."""
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("ECAMP_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "BLOCK", 4096)
    monkeypatch.setattr(remote, "_WAIT", 0.01)
    server = Server(copied)
    yield server
    server.close()


def contents(shards: ShardSet) -> list[dict[str, bytes]]:
    return [dict(shards.read(split, n)) for split in shards.splits for n in range(shards.count(split))]


def first(shards: ShardSet) -> str:
    return shards.manifest.of("train")[0].name


def test_the_same_bytes_as_from_the_folder_and_from_the_cache_the_second_time(server: Server, copied: Path) -> None:
    whole = contents(ShardSet(copied))
    shards = ShardSet(server.url)
    assert contents(shards) == whole
    again = ShardSet(server.url)
    before = server.faults.sent
    assert contents(again) == whole and server.faults.sent == before
    assert sum(method == "GET" and name.endswith(".tar") for method, name in server.faults.seen) > 0
    assert server.faults.seen["GET", "INDEX.bin"] == server.faults.seen["GET", "tokenizer.json"] == 1
    assert server.faults.encodings == {"identity"}, "offsets are those of the file, not of its compressed form"


def test_one_sample_is_one_request_and_no_more_than_its_blocks(server: Server) -> None:
    shards = ShardSet(server.url)
    before, name = server.faults.sent, first(shards)
    sample = shards.read("train", 1)
    assert server.faults.seen["GET", name] == 1
    size = sum(map(len, sample.values())) + 1024 * len(sample)
    assert server.faults.sent - before <= size + 2 * remote.BLOCK


def test_verify_and_stats_take_an_address(server: Server, copied: Path) -> None:
    verdict = inspect(server.url, workers=1)
    assert verdict.damage == [] and verdict.samples == 12
    assert stats(server.url) == stats(copied)
    name = first(ShardSet(copied))
    content = bytearray((copied / name).read_bytes())
    content[2000] ^= 1
    (copied / name).write_bytes(content)
    assert {damage.file for damage in inspect(server.url, workers=1).damage} == {name}


def test_a_full_disk_is_not_taken_for_damage(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ShardSet(server.url)
    monkeypatch.setattr(block_cache, "mkdtemp", lambda **_: str(tmp_path / "full"))
    (tmp_path / "full").mkdir()
    for shard in ShardSet(server.url).manifest.shards:
        (tmp_path / "full" / shard.name).symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        inspect(server.url, workers=1)


def test_an_answer_that_fails_twice_is_asked_for_again(server: Server, copied: Path) -> None:
    shards = ShardSet(copied)
    for name in ("MANIFEST.json", "INDEX.bin", "tokenizer.json"):
        server.faults.status[name] = [500, 503]
    found = ShardSet(server.url)
    server.faults.status[first(shards)] = [500, 503]
    assert found.read("train", 0) == shards.read("train", 0)


def test_a_size_that_fails_once_is_not_a_missing_file(server: Server) -> None:
    name = first(ShardSet(server.url))
    server.faults.status[name] = [500, 500, 500]  # fsspec asks by HEAD, then by GET, and calls it "not found"
    assert ShardSet(server.url).faults == ()
    server.faults.status[name] = [500] * 6
    with pytest.raises(StorageError, match=f"{name}: cannot be read after 3 tries"):
        ShardSet(server.url)


def test_an_answer_cut_short_is_asked_for_again(server: Server, copied: Path) -> None:
    found, shards = ShardSet(server.url), ShardSet(copied)
    server.faults.cut[first(shards)] = 2
    assert found.read("train", 0) == shards.read("train", 0)


def test_a_server_that_is_down_is_named_with_the_exit_code_of_storage(server: Server) -> None:
    shards = ShardSet(server.url)
    server.close()
    with pytest.raises(StorageError, match=f"{first(shards)}: cannot be read after 3 tries") as caught:
        shards.read("train", 0)
    assert caught.value.exit_code == 5 and server.url in str(caught.value)
    with pytest.raises(StorageError, match=r"MANIFEST\.json"):
        ShardSet(server.url)


def test_a_server_that_hangs_is_given_up_in_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, least_seconds: Callable[..., float]
) -> None:
    shards = ShardSet(server.url)
    monkeypatch.setattr(remote, "_DEADLINE", 0.2)
    monkeypatch.setattr(remote, "_PATIENCE", 0.3)
    server.faults.delay = 5

    def given_up() -> None:
        with pytest.raises(StorageError, match=f"{first(shards)}: cannot be read after 2 tries: TimeoutError"):
            shards.read("train", 0)

    assert least_seconds(given_up) < 2
    assert remote._PATIENCE < 30, "who asks a run to stop waits 30 s"


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_run_out_are_no_damage(server: Server, copied: Path, status: int) -> None:
    shards = ShardSet(server.url)
    server.faults.status[first(shards)] = [status] * 2
    assert shards.read("train", 0) == ShardSet(copied).read("train", 0)
    server.faults.status[shards.manifest.of("train")[1].name] = [status] * 100
    with pytest.raises(StorageError, match=r"(?s)after 3 tries: permission denied.*credentials") as caught:
        shards.read("train", 4)
    assert caught.value.exit_code == 5


def test_a_server_may_send_us_to_another_but_not_over_plain_http(server: Server, copied: Path) -> None:
    shards, signed = ShardSet(server.url), "X-Signature=TOPSECRET"
    name, other = (shard.name for shard in shards.manifest.of("train")[:2])
    shutil.copy(copied / name, copied / "moved.tar")
    server.faults.elsewhere[name] = f"/moved.tar?{signed}"
    assert shards.read("train", 0) == ShardSet(copied).read("train", 0)
    server.faults.elsewhere[other] = f"http://192.0.2.2:9/{other}?{signed}"
    for refused in (lambda: shards.read("train", 4), lambda: ShardSet(server.url)):
        with pytest.raises(PolicyError, match=f"{other}: the server sends us on") as caught:
            refused()
        assert "TOPSECRET" not in str(caught.value)


def test_errors_do_not_repeat_signed_urls(server: Server) -> None:
    shards = ShardSet(server.url)
    server.faults.elsewhere[first(shards)] = "/moved.tar?X-Signature=TOPSECRET"
    server.faults.status["moved.tar"] = [500] * 9
    with pytest.raises(StorageError, match="ClientResponseError: status 500") as caught:
        shards.read("train", 0)
    assert "TOPSECRET" not in str(caught.value)


def test_changed_bytes_are_noticed(server: Server, copied: Path) -> None:
    shards = ShardSet(server.url)
    shard = shards.manifest.of("train")[0]
    content = bytearray((copied / shard.name).read_bytes())
    content[int(shard.members["jpg"].offset[0]) + 5] ^= 1
    (copied / shard.name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{server.url}/{shard.name}: .*\.jpg at byte \d+: damaged"):
        shards.read("train", 0)


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_cache_that_rots_is_fetched_again(server: Server, copied: Path, tmp_path: Path, how: str) -> None:
    whole = contents(ShardSet(copied))
    assert contents(ShardSet(server.url)) == whole
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file() and path.name != "MANIFEST.json":
            data = path.read_bytes()
            damaged = {"flipped": bytes(byte ^ 1 for byte in data), "cut": data[:-1], "empty": b""}[how]
            path.write_bytes(damaged)
    assert contents(ShardSet(server.url)) == whole
    before = server.faults.sent
    assert contents(ShardSet(server.url)) == whole and server.faults.sent <= before + 10_000  # fixed in the cache too


def test_what_is_missing_is_named_and_what_is_forbidden_too(server: Server, copied: Path) -> None:
    names = [shard.name for shard in ShardSet(copied).manifest.of("train")]
    (copied / names[0]).unlink()
    os.truncate(copied / names[1], 700)
    server.faults.status[names[2]] = [403] * 2
    with pytest.raises(DataError) as caught:
        ShardSet(server.url)
    for part in (
        f"{names[0]} is missing",
        f"{names[1]} has 700 bytes",
        f"{names[2]} cannot be read: permission denied",
    ):
        assert part in str(caught.value)
    shards = ShardSet(server.url, spare=0.8)
    assert shards.lost.tolist() == list(range(8)) and shards.read("train", 8)
    with pytest.raises(DataError, match="No such file"):
        shards.read("train", 0)
    with pytest.raises(DataError, match="is no shard set"):
        ShardSet(f"{server.url}/nowhere")


def test_a_set_that_was_replaced_never_mixes_with_the_one_before(server: Server, copied: Path, tmp_path: Path) -> None:
    from ecamp_fast.shards.builder.build import Options, build_phantoms

    contents(ShardSet(server.url))
    other = tmp_path / "other"
    build_phantoms(12, other, size=64, options=Options(workers=1, shard_size=4, vocab_size=300, seed=7))
    shutil.copytree(other, copied, dirs_exist_ok=True)
    assert contents(ShardSet(server.url)) == contents(ShardSet(other))


def test_a_file_that_is_cut_or_goes_during_a_run_is_damage_not_the_network(server: Server, copied: Path) -> None:
    shards = ShardSet(server.url)
    one, other = (shard.name for shard in shards.manifest.of("train")[:2])
    os.truncate(copied / one, 700)
    (copied / other).unlink()
    for index, fault in ((0, f"{server.url}/{one}: .*cut short"), (4, f"{server.url}/{other}: .*No such file")):
        with pytest.raises(DataError, match=fault):
            shards.read("train", index)


def test_a_server_without_ranges_is_refused(server: Server) -> None:
    shards = ShardSet(server.url)
    server.faults.whole_files = True
    with pytest.raises(StorageError, match="does not give parts of files"):
        shards.read("train", 0)


def test_reads_overlap(server: Server) -> None:
    shards = ShardSet(server.url)
    server.faults.crowd = 8
    server.faults.met.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: shards.read("train", index), range(8)))
    assert server.faults.met.is_set()


@pytest.mark.slow  # imports torch
def test_batches_behind_an_address_are_those_of_the_folder_and_wait_together(server: Server, copied: Path) -> None:
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.shards.load.loader import Loader

    changes = ["image.high_size=64", "image.low_size=32", "batch.total=8", "batch.micro=8", "loader.threads=1"]
    recipe = load_recipe("demo", changes)
    near = list(Loader(ShardSet(copied), "train", recipe).batches(0, 2))
    shards = ShardSet(server.url)
    server.faults.crowd = 8
    server.faults.met.clear()
    far = list(Loader(shards, "train", recipe).batches(0, 2))
    assert server.faults.met.is_set(), "one round trip for a batch, not one for a sample"
    for one, other in zip(near, far, strict=True):
        assert torch.equal(one.image, other.image) and torch.equal(one.samples, other.samples)


def test_a_set_behind_an_address_travels_to_other_processes(server: Server) -> None:
    shards = ShardSet(server.url)
    assert pickle.loads(pickle.dumps(shards)).read("train", 0) == shards.read("train", 0)


def test_a_forked_process_reads_by_itself(server: Server) -> None:
    """With connections, and a lock that somebody holds at that moment, left behind in its parent."""
    shards = ShardSet(server.url)
    shards.read("train", 0)
    child = get_context("fork").Process(target=shards.read, args=("train", 4))
    with shards.store._blocks._lock:  # type: ignore[attr-defined]
        child.start()
    child.join(20)
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0
    assert shards.read("train", 8), "the parent's connections are as they were"


def test_openings_at_once_do_not_disturb_each_other(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: ShardSet(server.url), range(8)))
        assert {shards.count("train") for shards in found} == {ShardSet(server.folder).count("train")}


def test_what_is_kept_is_not_written_again(server: Server, tmp_path: Path) -> None:
    before = {path: path.stat().st_ino for folder in [ShardSet(server.url).store.folder] for path in folder.iterdir()}
    ShardSet(server.url)
    assert {path: path.stat().st_ino for path in before} == before and len(before) == 3


def test_the_cache_is_for_its_owner_alone_even_made_again(server: Server, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ECAMP_FAST_CACHE", str(tmp_path / "deep" / "cache"))
    shards = ShardSet(server.url)
    for index in (0, 4):
        shards.read("train", index)
        with shards.store.as_file(first(shards)):
            folders = [tmp_path / "deep", *(path for path in (tmp_path / "deep").rglob("*") if path.is_dir())]
            assert {path.stat().st_mode & 0o777 for path in folders} == {0o700} and len(folders) >= 6
        shutil.rmtree(tmp_path / "deep")


def test_doctor_keeps_to_the_bound_of_the_recipe(server: Server, tmp_path: Path) -> None:
    from ecamp_fast.config import load_recipe
    from ecamp_fast.doctor.data import manifest
    from ecamp_fast.doctor.run_setup import RunSetup

    old = tmp_path / "cache" / "set" / "a.tar" / "000000"
    old.parent.mkdir(parents=True)
    old.write_bytes(bytes(200_000))
    os.utime(old, (0, 0))
    case = RunSetup(data=server.url, recipe=load_recipe("demo", [f"loader.cache_gb={100_000 / 2**30}"]))
    list(manifest(case))
    assert case.shards and case.shards.read("train", 0) and not old.exists()


def test_readers_are_not_disturbed_by_what_others_delete(server: Server, copied: Path) -> None:
    """Two sets with a cache smaller than either, as two processes would have: all bytes are right all the same."""
    whole = contents(ShardSet(copied))
    small = [ShardSet(server.url, cache_gb=20_000 / 2**30) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        assert all(found == whole for found in pool.map(contents, small * 2))


def test_a_store_that_lists_is_asked_once(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    for path in copied.iterdir():
        memory.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    calls: Counter[str] = Counter()
    listing = memory.ls
    monkeypatch.setattr(memory, "ls", lambda *args, **kw: calls.update(["ls"]) or listing(*args, **kw))
    one = memory.info
    monkeypatch.setattr(memory, "info", lambda path, **kw: calls.update([path[-4:]]) or one(path, **kw))
    monkeypatch.setenv("ECAMP_FAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "open_filesystem", lambda address: memory)
    assert contents(ShardSet("s3://bucket/set")) == contents(ShardSet(copied))
    assert calls["ls"] == 1 and not calls[".tar"]
    (gone, *_) = (shard.name for shard in ShardSet(copied).manifest.shards)
    memory.rm_file(f"/bucket/set/{gone}")
    with pytest.raises(DataError, match=f"{gone} is missing"):
        ShardSet("s3://bucket/set")
