"""Pictures judged by the builder, and a shard set to damage."""

import io
import random
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.format.manifest import EXTENSIONS, read_manifest, write_manifest
from ecamp_fast.shards.format.tar_writer import ShardWriter
from ecamp_fast.shards.images.encode import decode, radiograph
from ecamp_fast.shards.images.limits import BadImage

TESTS = Path(__file__).parents[1]
SMALL = Options(workers=1, shard_size=4, vocab_size=200)


class Proof:
    """Fails a run of the whole catalogue where every test of a clause was skipped: a mark alone proves nothing."""

    def __init__(self, items: list[pytest.Item]) -> None:
        self._clauses = {item.nodeid: {c for mark in item.iter_markers("fault") for c in mark.args} for item in items}
        self._unproven = set().union(*self._clauses.values())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._unproven -= self._clauses[report.nodeid]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._unproven and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for clause in sorted(self._unproven):
            terminalreporter.write_line(f"FAILED: no test of {clause} ran to its end")


def pytest_collection_finish(session: pytest.Session) -> None:
    option, config = session.config.option, session.config
    roots = {(config.invocation_params.dir / argument).resolve() for argument in config.args}
    if option.markexpr == "fault" and not option.keyword and not option.collectonly and roots & {TESTS, TESTS.parent}:
        config.pluginmanager.register(Proof(session.items))


@pytest.fixture(scope="session")
def grey():
    """grey(data): the pixels that the builder makes of a file."""
    return lambda data: np.asarray(decode(data))


@pytest.fixture(scope="session")
def kind_of():
    """kind_of(data): the class in which the builder refuses a file."""

    def refused(data):
        with pytest.raises(BadImage) as caught:
            radiograph(decode(data), 1024)
        assert caught.value.what and caught.value.hint
        return caught.value.kind

    return refused


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """12 phantoms of 64 pixels in four shards; not to be changed."""
    out = tmp_path_factory.mktemp("faults") / "set"
    build_phantoms(12, out, size=64, options=SMALL)
    return out


@pytest.fixture
def damaged(pristine, tmp_path):
    """A copy to damage."""
    return shutil.copytree(pristine, tmp_path / "damaged")


@pytest.fixture
def chance(request):
    """Seeded by the test's name: the same damage every time."""
    return random.Random(request.node.name)


def contents(folder, shard):
    """[(key, {extension: bytes})] of a shard."""
    with tarfile.open(folder / shard.name, "r:") as archive:
        members = {entry.name: archive.extractfile(entry).read() for entry in archive}
    return [
        (key, {ext: members[f"{key}.{ext}"] for ext in EXTENSIONS if f"{key}.{ext}" in members}) for key in shard.keys
    ]


@pytest.fixture
def resealed():
    """resealed(folder, change, number=0): write a shard again with other samples, and its true manifest with it."""

    def write(folder, change, number=0):
        manifest = read_manifest(folder)
        shards = list(manifest.shards)
        with ShardWriter(folder, shards[number].name, shards[number].split) as writer:
            for key, members in change(contents(folder, shards[number])):
                writer.add(key, members)
            shards[number] = writer.close()
        write_manifest(folder, replace(manifest, shards=tuple(shards)))
        return shards[number]

    return write


@pytest.fixture
def resealed_columns():
    """resealed_columns(folder, column, value): a manifest that lies about the first jpg, with a true digest."""

    def write(folder, column, value):
        manifest = read_manifest(folder)
        members = manifest.shards[0].members
        changed = np.array(getattr(members["jpg"], column))
        changed[0] = value
        members["jpg"] = replace(members["jpg"], **{column: changed})
        write_manifest(folder, replace(manifest, digest=""))
        return manifest.shards[0]

    return write


@pytest.fixture
def foreign():
    """foreign(folder, how): the first shard as another program would write it."""

    def write(folder, how):
        shard = read_manifest(folder).shards[0]
        members = [(f"{key}.{ext}", data) for key, sample in contents(folder, shard) for ext, data in sample.items()]
        if how == "interleaved":
            members.sort(key=lambda member: member[0].partition(".")[2])
        elif how == "extra":
            members.append(("README.md", b"hello"))
        elif how == "upper case":
            members = [(name.replace(".jpg", ".JPG"), data) for name, data in members]
        format = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}.get(how, tarfile.USTAR_FORMAT)
        with tarfile.open(folder / shard.name, "w:", format=format) as archive:
            for name, data in members:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(data), 1.5 if how == "pax" else 0
                archive.addfile(entry, io.BytesIO(data))
        return shard

    return write
