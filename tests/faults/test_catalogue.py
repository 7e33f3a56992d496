"""The catalogue of faults: shards (D), images and DICOM files (I), text (T), distillation (L), runs (C), numbers (N),
machines (E), attacks (S) and privacy (P).

Every clause of every line is proven by a test that bears ``@pytest.mark.fault("D1.header")``, in whichever folder it
stands; ``pytest -m fault`` runs them all, and fails where every test of a clause was skipped.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

CATALOGUE = {
    # A tar is cut short. `verify` names shard, byte and lost keys, and leaves with 3; training does not begin.
    "D1": "sample header data between exit before-step-1 quarantine",
    # A shard is empty, all zeros, missing, unreadable: all are named at once, of 1,000 shards within a second.
    "D2": "empty zeros missing unreadable all-named in-a-second exit quarantine",
    # A bit flips: the sample is noted and replaced; manifest and index must be whole.
    "D3": "header image text manifest index quarantine",
    # A sample lacks a member: it is not built, and training takes another.
    "D4": "txt jpg json build quarantine",
    # A key comes twice: both places are named. A patient in two splits leaves with 3.
    "D5": "adjacent apart across-shards across-splits both-origins patient",
    # Tars of other writers: `build` puts them in order and counts what it leaves out, `verify` says what is foreign.
    "D6": "interleaved extra upper-case build verify",
    # An index for DALI that is older than its shard.
    "D7": "named never-a-wrong-place exit",
    # Archives made to harm: only plain regular members are taken, sizes are bounded, nothing is ever extracted.
    "D8": "gzip sparse declared-size pax-flood symlink hardlink device absolute dot-dot nothing-extracted exit",
    # Fewer shards than ranks x workers, shards of uneven sizes: the same number of steps on all ranks.
    "D9": "few uneven",
    # Two builders of one output, a crash, another clock: one is told, the next finishes, the bytes are the same.
    "D10": "two-builders crash clock",
    # Broken JPEGs: refused by class; checksums find them first; DALI refuses what the builder refuses.
    "I1": "truncated html empty magic checksum-first decoders-agree",
    # Kinds of pixels: converted by the written rule or refused with a reason.
    "I2": "cmyk rgba palette 16-bit progressive exif unsupported",
    # DICOM values: modality LUT, VOI, polarity, declared bits; equal to pydicom's pipeline.
    "I3": "depth signed rescale windows voi-lut sigmoid",
    # Polarity.
    "I4": "after-voi suspected warned",
    # DICOM files that are no radiograph of one grey frame: left out by class, with the codec to install.
    "I5": "no-pixels no-codec no-pydicom compressed several-frames burned-in colour",
    # Sizes: judged by the header, at most half a gigabyte of memory; pictures that show nothing are refused.
    "I6": "bomb 60-megapixels one-pixel aspect constant",
    # Programs in the preamble, directories.
    "I7": "preamble directory",
    # Bytes that are not UTF-8: read by the written rule, noted once, no readable character lost.
    "T1": "cp1252 latin-1 byte-order-mark crlf control surrogate right-to-left noted-once nothing-lost",
    # Reports that say nothing: dropped by default, and counted.
    "T2": "empty underscores no-section counted",
    # Reports that are long, mention nothing, deny everything, end in an entity: weights and losses stay finite.
    "T3": "long no-entity denied at-the-end cut-counted",
    # Tables that do not fit: joined by key, one to one, or exit code 3.
    "T4": "shifted missing-id quoted-line-breaks extra-row by-key exit",
    # Another tokenizer than the tokens were made with.
    "T5": "swapped exit",
    # A server of language models that is not there, hangs, breaks off: waited for with jitter, one governor for all
    # requests; one report that it cannot take does not hold up the others; after its patience a run ends with 7, and
    # the same command goes on.
    "L1": "refused dns tls timeout half-closed jitter governor one-report exit complete",
    # What a server says no to: Retry-After is kept, what is no matter of time is not tried again, 401 ends the run, a
    # context that is full leaves the report to the rules, a server without schemas is asked for plain text.
    "L2": "429 retry-after 5xx 4xx 401 too-long no-schema complete",
    # An answer that is garbage: two more at most, then the rules, flagged.
    "L3": "two-re-asks flagged complete",
    # A journal of answers: killed at any byte and at any moment, damaged, two writers. No answer is lost, none is there
    # twice, what was counted is on the disk.
    "L5": "any-byte torn damaged kill stopped synced none-lost none-twice two-writers",
    # Where reports go: to private addresses, to attested hosts, and nowhere else, however an address is written, named,
    # sent on or proxied. It is judged before anything is opened; a listener elsewhere receives nothing.
    "L7": "private public written name rebound redirect proxy attested judged-first dry-run no-byte",
    # Another model, prompt or parameter: another journal.
    "L8": "model prompt parameters named never-mixed",
    # Writers of a checkpoint are killed, at each point of a save and anywhere: what is accepted is whole, and nobody
    # has to clean up; ranks that are left say who is gone, and do not wait for ever.
    "C1": "each-point each-rank random background none-corrupt nothing-to-clean left-overs no-hang before-the-first",
    # The disk refuses, any file, any rank: all ranks agree, it is tried again, the last good one stands, an alarm is
    # raised, training goes on; logs are written later.
    "C2": (
        "every-file every-rank no-hang all-agree tried-again last-good healthy-stays training-goes-on alarm logs "
        "room real background deepspeed after-the-commit recorder"
    ),
    # Files of a checkpoint are changed, taken away, swapped, added, also with a true digest: refused by name, the older
    # sound one is used, and where there is none a run that had one does not start over. Checkpoints of versions up to
    # 0.1: refused with the command that converts them, which a kill anywhere leaves good.
    "C3": (
        "any-file manifest hostile named older-used no-traceback never-silently verified-first junk empty-folders "
        "retention former"
    ),
    # A request to stop, wherever a run is: what was trained is saved, the command returns, nobody and nothing is left.
    # A second one ends it at once. An evaluation is cut short, data that never comes is not waited for. A job of SLURM
    # whose time is up goes back to the queue, and only then.
    "C4": (
        "init compilation step evaluation save data int hup twice no-orphans no-shared-memory deepspeed "
        "stop-in-set-up slurm torchrun"
    ),
    # A rank dies, is stopped, hangs or fails, the store hangs: all others leave in seconds, the message names rank,
    # step and samples, stacks are written, run_state tells it; a rank that wakes leaves too, the same command goes on.
    # A rank of another node is known to be dead by its silence, and those that lose their connections are not blamed.
    "C5": "sigkill exit stop hang failed store rank-0 named stacks all-leave state woken slow-disk resumes other-node",
    # Signals and kills of one process: ranks save and end with what started them; a killed rank is never a success; one
    # writer a run, and nobody beside ranks that are left of an earlier start.
    "C5b": (
        "command runner launcher one-rank group killed-rank never-success deepspeed second-start beside-orphans "
        "dead-writer stop-on-dead"
    ),
    # A loader dies, fails or stalls: what was trained is saved first, the message names its thread and samples.
    "C6": "dead failed stalled named saves-first all-leave",
    # A run goes on with other ranks, micro-batches, stages, precisions.
    "C7": "ranks stage any-ranks any-stage precision told former",
    # A resumed run is the run: the same samples and masks on any number of ranks, all to the bit on as many, also from
    # step 0 and from an earlier checkpoint; every step is recorded, and where two runs part is named.
    "C8": "recorded same-samples-and-masks ten-kills difference-named step-0 earlier",
    # The configuration changed: what makes it another run is refused, what tunes is told and must be allowed.
    "C9": "identity tunables deepspeed difference-told",
    # File systems of a network: slow, behind, with stale handles and other clocks: waited for, never believed.
    "C10": "slow-sync stale-handle not-visible clock-skew",
    # A number that is not finite: the update is left out on all ranks together, within a budget, and the samples are
    # noted; ruined weights end the run with 6 at the next step and are never exported; a replay names what it was.
    "N1": (
        "healthy-checkpoint pixel term gradient one-rank all-ranks-together weight moment learning-rate init-from "
        "samples budget in-a-row resume next-step exit hint never-exported strict-json replay nothing-leaves"
    ),
    # Ten times the loss or the norm: noted with the samples; on demand left out, or gone back from, or the end with 6.
    "N2": "ten-times samples logged skipped rolled-back ledger left-out-again exit",
    # The loss scale of fp16 sinks without end: there is no fp16, and who asks for it is told.
    "N3": "refused",
    # Nothing to predict, or a single sample: the loss is a number.
    "N4": "no-valid-token no-masked-patch batch-of-one",
    # DeepSpeed calls a norm that is not finite -1.
    "N5": "told-as-infinite not-applied",
    # Configuration that cannot be meant: exit code 2, the line, the nearest key, all faults at once.
    "E1": "unknown-key typo duplicate-key wrong-type contradictory-batch deepspeed-key line suggestion all-at-once",
    # Parts that are missing or do not fit: a run does without and says so, or exit code 4 with the command that helps.
    "E2": "no-gpu old-driver flash-attn no-dali no-compiler wrong-torch",
    # Hostile shells and machines: it works, or leaves with 4 or 5 and the cause.
    "E3": "no-home read-only-home open-files shared-memory locale path out named works",
    # Files made to run code, or to fill memory and stack, with right digests too: refused by name, nothing in them has
    # run. So is all that fuzzing makes: no other error, no two seconds, no half gigabyte.
    "S1": "former torch pickle npy yaml aliases json manifest run-state safetensors nothing-run fuzzed exit",
    # Addresses that are programs, files or patterns: refused before anything is opened, and no secret of one is shown.
    "S2": "pipe http file shell glob secrets exit nothing-run",
    # Names with escape sequences, line breaks, overrides of the reading direction: escaped wherever they are shown.
    "S3": "ansi line-break right-to-left keys files headers yaml progress json-untouched",
    # Words of reports, DICOM tags and pictures' names: in no output, no log and no file but the data itself.
    "P1": "reports dicom-tags file-names output json run-folder failures owner-alone notice whole-suite",
    # A machine without a network: every command does what it does elsewhere.
    "P2": "help shards doctor training",
}

CLAUSES = {f"{line}.{clause}" for line, clauses in CATALOGUE.items() for clause in clauses.split()}


def claims(source: str) -> dict[str, list[str]]:
    """{clause: names of the tests that bear it} in the source of a test file."""
    found = defaultdict(list)
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    for clause in mark.args:
                        found[ast.literal_eval(clause)].append(function.name)
    return found


@pytest.fixture(scope="module")
def proven() -> dict[str, list[str]]:
    every = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for clause, tests in claims(path.read_text()).items():
            every[clause] += tests
    return every


@pytest.mark.parametrize("line", CATALOGUE)
def test_every_clause_of_a_line_has_a_test(line: str, proven: dict[str, list[str]]) -> None:
    assert [clause for clause in sorted(CLAUSES) if clause.startswith(f"{line}.") and not proven[clause]] == []


def test_no_test_claims_what_is_not_in_the_catalogue(proven: dict[str, list[str]]) -> None:
    assert sorted(clause for clause, tests in proven.items() if tests and clause not in CLAUSES) == []


def test_tests_named_after_a_line_bear_it() -> None:
    """A test ``test_d4_...`` of this folder claims something of D4."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        source = path.read_text()
        bearers = {(test, clause.split(".")[0]) for clause, tests in claims(source).items() for test in tests}
        for name, line in re.findall(r"^def (test_([diltc]\d+)_\w+)", source, re.MULTILINE):
            assert (name, line.upper()) in bearers, f"{path.name}: {name}"


@pytest.mark.parametrize(
    "run, skipped, fails",
    [
        ("tests", ("test_a",), False),
        ("tests", ("test_a", "test_b"), True),
        ("tests/faults", ("test_a", "test_b"), False),
    ],
)
def test_a_clause_all_of_whose_tests_are_skipped_fails_the_whole_run(tmp_path, run, skipped, fails):
    folder = tmp_path / "tests" / "faults"
    folder.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    lines = ["import pytest"]
    for name in ("test_a", "test_b"):
        lines += ["@pytest.mark.skip"] * (name in skipped) + ['@pytest.mark.fault("D1.header")', f"def {name}(): pass"]
    (folder / "test_it.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-m", "fault", run]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == int(fails) and ("no test of D1.header ran" in done.stdout) == fails, done.stdout


def test_a_missing_mark_would_be_noticed() -> None:
    marked = '@pytest.mark.fault("D1.header", "D1.data")\ndef test_cut():\n    pass\n'
    assert claims(marked) == {"D1.header": ["test_cut"], "D1.data": ["test_cut"]}
    assert claims(marked.replace("@", "#")) == {} and claims(marked.replace("test_", "helper_")) == {}
