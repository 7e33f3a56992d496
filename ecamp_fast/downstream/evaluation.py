"""``ecamp_fast.evaluate``: what an encoder's frozen features say of labels, out of Python."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ecamp_fast.downstream.device import open_device
from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tasks.probing import ProbeOptions, probe_encoder
from ecamp_fast.downstream.tasks.splits import Subset
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.storage.store import require_set_at


def evaluate(
    encoder: str | Path,
    data: str | Path | ShardSet,
    out: str | Path | None = None,
    *,
    classes: Sequence[str] = (),
    percent: float = 100.0,
    seed: int = 42,
    pooling: int = 1,
    baselines: bool = True,
    device: str | None = None,
    say: Callable[[str], None] | None = None,
) -> TaskResult:
    """Probe frozen features: a logistic regression fitted on the split train, judged on test (or val).

    encoder    a run, the folder ``ours`` of an export, a folder of timm or of transformers, ``untrained:RUN``
    data       a labelled shard set: folder, address, or opened
    out        a folder for result.json; None: nothing is left on the disk
    classes    of the set, one or several; (): all
    percent    of the training patients
    seed       of their order
    pooling    a mean for each of pooling x pooling parts of the image, so that place is kept
    baselines  whether untrained weights and plain pixels stand beside it, in ``extra["baselines"]``
    device     cpu, cuda, cuda:N; None: cuda where there is one
    say        gets a line for each thing that takes long

    returns the mean AUROC (``score``), its 95 % interval over patients (``low``, ``high``), ``per_class``, ``extra``

    Raises ConfigError, DataError where encoder or data cannot be used so, PolicyError for a refused address.
    """
    if not isinstance(data, ShardSet):
        require_set_at(data)
        data = ShardSet(data)
    names = (classes,) if isinstance(classes, str) else tuple(classes)
    options = ProbeOptions(Subset(percent=percent, seed=seed), names, pooling, baselines=baselines)
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Path(nowhere if out is None else out)
        return probe_encoder(
            str(encoder), data, folder, options, device=open_device(device), say=say or (lambda line: None)
        )
