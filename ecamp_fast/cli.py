"""``ecamp-fast``: names the commands, imports only the one that is called, and reports foreseen faults."""

import errno
import json
import os
import sys

import click

from ecamp_fast import __version__
from ecamp_fast.errors import EcampError, StorageError
from ecamp_fast.printable import message, without_secrets
from ecamp_fast.usage.groups import LazyGroup

COMPLETES = "_ECAMP_FAST_COMPLETE"  # the variable by which a shell asks for completions
INTERRUPTED = 130  # what a shell makes of SIGINT
# What the disk says when it refuses, wherever that happens: no fault of the program
_REFUSED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),  # links that lead nowhere among them
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
)

COMMANDS = {
    "demo": ("ecamp_fast.commands.demo", "The whole way on phantoms: shards, training, crash, resume, report."),
    "worth": ("ecamp_fast.commands.worth", "What pre-training is worth, on phantoms, against opponents without it."),
    "doctor": ("ecamp_fast.commands.doctor", "Check machine, configuration and data before a run."),
    "shard": ("ecamp_fast.commands.shard", "Build and verify shard sets, tell their numbers, draw samples."),
    "tokenizer": ("ecamp_fast.commands.tokenizer", "Train a WordPiece tokenizer on a corpus."),
    "distill": ("ecamp_fast.commands.knowledge.distill", "Reports as one short sentence per entity."),
    "train": ("ecamp_fast.commands.train", "Pre-train ECAMP; the same command resumes a run."),
    "recipes": ("ecamp_fast.commands.recipes", "List the recipes, or every key of one with its meaning."),
    "stop": ("ecamp_fast.commands.stop", "Save a run and end it at its next step."),
    "replay": ("ecamp_fast.commands.replay", "Rebuild one step of a run and say what in it went bad first."),
    "compare-runs": ("ecamp_fast.commands.compare_runs", "Name the first step and quantity in which two runs differ."),
    "report": ("ecamp_fast.commands.report", "Write the HTML report of a run."),
    "track": ("ecamp_fast.commands.track", "Send a run's numbers to trackio or wandb, where they were not sent yet."),
    "export": (
        "ecamp_fast.commands.downstream.export",
        "Write a run's image encoder for timm, transformers, ONNX and ecamp-fast.",
    ),
    "features": ("ecamp_fast.commands.downstream.features", "Write the frozen features of a shard set into one file."),
    "finetune": ("ecamp_fast.commands.downstream.finetune", "Fit a task on a trained encoder: classes, masks, boxes."),
    "probe": ("ecamp_fast.commands.downstream.probe", "What frozen features say, beside untrained ones and pixels."),
    "predict": (
        "ecamp_fast.commands.downstream.predict",
        "Class probabilities of a fitted classifier for image files.",
    ),
    "visualize": (
        "ecamp_fast.commands.downstream.visualize",
        "Draw where words look in images, and measure it by boxes.",
    ),
    "evaluate": ("ecamp_fast.commands.downstream.evaluate", "Encoders on tasks, ours beside the paper's tables."),
    "ablate": ("ecamp_fast.commands.downstream.ablate", "Pre-train and score the rows of Tables 4 and 5."),
    "zero-shot": ("ecamp_fast.commands.downstream.zero_shot", "Findings by their names: prompts, and negated prompts."),
    "attend": ("ecamp_fast.commands.knowledge.attend", "Learn where the findings are that sentences name (GLoRIA)."),
    "import": ("ecamp_fast.commands.downstream.imports", "Convert released weights, or a run's former checkpoints."),
    "bench": ("ecamp_fast.commands.bench", "Measure the parts on this machine."),
    "completion": ("ecamp_fast.usage.shells", "Print the script that lets bash, zsh or fish complete."),
}


@click.group(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(__version__, prog_name="ecamp-fast")
def command() -> None:
    """Pre-train ECAMP, the entity-centred medical vision-language model, on radiographs and their reports.

    Results go to stdout (with --json as one object), progress and faults to stderr. Exit codes: 0 done, 1 a check
    failed, 2 usage or configuration, 3 data, 4 environment, 5 disk or network, 6 numerics, 7 an endpoint that does not
    answer, 8 refused on principle, 75 stopped and resumable, 130 interrupted.

    \b
    Example:
      ecamp-fast demo
    """


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit. ``arguments``: default ``sys.argv[1:]``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if COMPLETES in os.environ:
        from ecamp_fast.usage.shells import take_over

        take_over()
    sys.exit(_run(arguments, as_json="--json" in arguments))


def _run(arguments: list[str], as_json: bool) -> int:
    try:
        code = command.main(arguments, prog_name="ecamp-fast", standalone_mode=False)
    except EcampError as error:
        return _fail(type(error).__name__, error.what, error.hint, error.exit_code, as_json)
    except click.ClickException as error:
        if not as_json:
            error.message = message(without_secrets(error.message))  # type: ignore[misc]  # it quotes the command line
            error.show()
            return error.exit_code
        return _fail("UsageError", error.format_message(), "see --help", error.exit_code, as_json)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        what = f"{error.filename or 'a file'}: {error.strerror}"
        hint = "free space, check permissions, or choose another path"
        return _fail("StorageError", what, hint, StorageError.exit_code, as_json)
    except ImportError as error:
        from ecamp_fast.doctor.requirements import import_fault

        fault = import_fault(error)
        return _fail("EnvironmentFault", fault.what, fault.hint, fault.exit_code, as_json)
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted", "interrupted", "", INTERRUPTED, as_json)
    return code if isinstance(code, int) else 0  # click hands back the code of `context.exit(code)`


def _fail(kind: str, what: str, hint: str, code: int, as_json: bool) -> int:
    fault = EcampError(what, hint)
    if as_json:
        error = {"kind": kind, "what": fault.what, "hint": fault.hint, "exit_code": code}
        click.echo(json.dumps({"schema": 2, "error": error}))
    else:
        click.echo(f"error: {fault}", err=True)
    return code


if __name__ == "__main__":
    main()
