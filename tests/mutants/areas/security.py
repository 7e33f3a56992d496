"""What comes from outside: escaped where it is shown, bounded where it is read, closed where it is written."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from mutant import mutants

DEEP = "[" * 70 + "]" * 70
BOMB = "a: &a [x]\nb: [*a, *a]\n"
NAMES = ("a\x1b[2J", "a\nforged", "a\n  hint: b", "\u202ea", "a\n  - b", "https://u:p@h/s?sig=1", "s3://b/c#x")


def kind(call: Any, *given: Any) -> str:
    try:
        return str(call(*given))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def shown() -> Any:
    from ecamp_fast.errors import DataError
    from ecamp_fast.printable import items, one_line
    from ecamp_fast.shards.storage.address import parse_address

    refused = [kind(parse_address, name) for name in ("pipe:a?b", "https://u:p?q@h/x", "s3://b/a?sig=1")]
    return [(str(DataError(name, name)), one_line(name), items([name])) for name in NAMES], refused


def read() -> Any:
    from ecamp_fast.config.yaml import parse_yaml
    from ecamp_fast.shards.format.metadata import read_metadata
    from ecamp_fast.strict_json import parse_json

    texts = (BOMB, "a: &a 1", f"a: {'[' * 40}{']' * 40}", "a: " + "x" * 70_000)
    sound = '{"study_id":"","patient_id":"","view":"","split":"","labels":%s,"width":%s,"height":9,"boxes":%s}'
    metadata = [sound % row for row in (('["a"]', 9, "[]"), ("[1]", 9, "[]"), ("[]", 0, "[]"), ("[]", 9, '[{"x":1}]'))]
    jsons = (DEEP, f'["{DEEP}"]', '{"a":' * 65 + "1" + "}" * 65)
    return (
        [kind(parse_yaml, text, "x")[:60] for text in texts],
        [kind(parse_json, text)[:60] for text in jsons],
        [kind(read_metadata, text.encode(), "x")[:90] for text in metadata],
    )


def manifest() -> Any:
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.format.manifest import read_manifest

    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "set")
        build_phantoms(4, folder, size=64, options=Options(workers=1, shard_size=4, vocab_size=100))
        raw = (folder / "MANIFEST.json").read_bytes()
        body = raw[raw.index(b",") + 1 :]
        for old, new in (
            (b'"vocab_size":', b'"vocab_size":9000'),
            (b'"samples":', b'"samples":-'),
            (b'"notes":[', b'"notes":[1'),
        ):
            changed = body.replace(old, new)
            (folder / "MANIFEST.json").write_bytes(
                b'{"sha256":"' + hashlib.sha256(changed).hexdigest().encode() + b'",' + changed
            )
            found.append(kind(read_manifest, folder).partition("MANIFEST.json")[2])
    return found


def written() -> Any:
    from ecamp_fast.files import write_atomically
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.shards.builder.notice import write_notice

    before = os.umask(0)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            run = RunDir(Path(scratch, "run"))
            run.metric({"step": 1})
            write_atomically(run.path / "a", b"1")
            modes = [oct(path.stat().st_mode) for path in (run.path, run.path / "metrics.jsonl", run.path / "a")]
            (run.path / "a").chmod(0o644)
            write_atomically(run.path / "a", b"2")
            write_notice(run.path, "mimic-cxr")
            names = sorted(path.name for path in run.path.iterdir())
            return modes, oct((run.path / "a").stat().st_mode), names
    finally:
        with contextlib.suppress(OSError):
            os.umask(before)


MUTANTS = [
    *mutants(
        "ecamp_fast/printable.py",
        "tests/test_printable.py",
        shown,
        {
            "a hint can be forged": ("(?:  - |    )", "(?:  )"),
            "any line can be forged": ('r"(\\n(?:  - |    ))"', 'r"(\\n)"'),
            "items break their lines": ("_ITEM + printable(str(line))", "_ITEM + str(line)"),
            "a user is shown": ('return f"{scheme}{place}', 'return f"{scheme}{_ or str()}{place}'),
            "a query is shown": ("{_LEFT_OUT if query else ''}", "{query or ''}"),
        },
    ),
    *mutants(
        "ecamp_fast/errors.py",
        "tests/test_printable.py",
        shown,
        {"a hint is not escaped": ("{message(self.hint)}", "{self.hint}")},
    ),
    *mutants(
        "shards/storage/address.py",
        "tests/shards/storage/test_store.py tests/faults/test_hostile.py -k refused",
        shown,
        {"half a password is shown": ('r":/*.*@", "://"', 'r"//[^/?]*@", "//"')},
    ),
    *mutants(
        "ecamp_fast/config/yaml.py",
        "tests/faults/test_hostile.py -k recipe",
        read,
        {
            "aliases are followed": ("isinstance(event, yaml.AliasEvent) or", "False and"),
            "any depth of YAML": ("if self.depth == DEEPEST", "if self.depth == 100 * DEEPEST"),
            "any length of YAML": ("if len(text) > LARGEST", "if len(text) > 100 * LARGEST"),
        },
    ),
    *mutants(
        "ecamp_fast/strict_json.py",
        "tests/faults/test_hostile.py -k json",
        read,
        {
            "brackets in strings count": ('r\'"(?:[^"\\\\]++|\\\\.)*+"?|[\\[\\]{}]\'', "r'[\\[\\]{}]'"),
            "objects have any depth": ('{"[": 1, "{": 1,', '{"[": 1, "{": 0,'),
        },
    ),
    *mutants(
        "shards/format/metadata.py",
        "tests/faults/test_hostile.py tests/faults/test_fuzz.py -k metadata",
        read,
        {"labels are anything": ("isinstance(values, list) and all(", "isinstance(values, list) or all(")},
    ),
    *mutants(
        "shards/format/manifest.py",
        "tests/faults/test_hostile.py -k manifest",
        manifest,
        {
            "any vocabulary": ("0 <= entries <= 2**ID_BITS", "0 <= entries"),
        },
    ),
    *mutants(
        "ecamp_fast/files.py",
        "tests/faults/test_canaries.py -k owner",
        written,
        {
            "others may read": ("os.open(name, flags, 0o600)", "os.open(name, flags, 0o644)"),
            "what was opened to others is closed": ("            if path.exists():", "            if False:"),
        },
    ),
    *mutants(
        "ecamp_fast/run/rundir.py",
        "tests/faults/test_canaries.py tests/faults/test_hostile.py -k owner",
        written,
        {"others may enter": ("self.path.mkdir(mode=0o700,", "self.path.mkdir(")},
    ),
]
