"""Which part of the model takes the time and which keeps the memory, from one step that is watched."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.autograd import DeviceType
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from ecamp_fast.batch import Batch
from ecamp_fast.model.components import MARK, OTHER, scopes
from ecamp_fast.model.ecamp import Ecamp

BACKWARD = "autograd::engine::evaluate_function: "


def saved_for_backward(model: Ecamp, batch: Batch) -> list[dict[str, Any]]:
    """What the forward pass keeps for the backward pass beside the parameters: a row per storage, largest first.

    returns component, shape and dtype of the tensor that was saved first, bytes of its storage.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
    rows: list[dict[str, Any]] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            known.add(storage.data_ptr())  # the graph keeps it, so no other storage gets its address
            shape, dtype = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
            rows.append({"component": running[-1], "shape": shape, "dtype": dtype, "bytes": storage.nbytes()})
        return tensor

    with scopes(model) as running, saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(batch).total
    del loss
    return sorted(rows, key=lambda row: -row["bytes"])


def by_component(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Bytes of ``saved_for_backward``."""
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[row["component"]] += row["bytes"]
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def component_seconds(model: Ecamp, batch: Batch) -> dict[str, dict[str, float]]:
    """Seconds of forward and backward by component, of the device where it is a GPU; watching slows them a little.

    An operation of the backward pass belongs to the component that made its node in the forward pass.
    """
    cuda = batch.image.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with scopes(model), profile(activities=activities) as profiler:
        model(batch).total.backward()
    model.zero_grad()
    # A GPU's own spans of the same ranges are among the events too; kernels hang on those of the CPU that launched them
    hosts = [event for event in profiler.events() or [] if event.device_type == DeviceType.CPU]
    events = sorted(hosts, key=lambda event: event.time_range.start)
    sums: dict[str, dict[str, float]] = defaultdict(lambda: {"forward": 0.0, "backward": 0.0})
    owners: dict[int, str] = {}  # sequence number of a node -> component; the last that names it made it
    for event in events:
        if event.name.startswith(BACKWARD):
            sums[owners.get(event.sequence_nr, OTHER)]["backward"] += _seconds(event, cuda)
            continue
        component = _scope(event)
        if component is None:
            continue
        if event.name.startswith(MARK):
            inner = [child for child in _below(event) if child.name.startswith(MARK)]
            sums[component]["forward"] += _seconds(event, cuda) - sum(_seconds(child, cuda) for child in inner)
        elif event.sequence_nr >= 0:
            owners[event.sequence_nr] = component
    return dict(sums)


def _scope(event: Any) -> str | None:
    """The innermost component around an event, itself included; None outside the forward pass."""
    while event is not None:
        if event.name.startswith(MARK):
            return str(event.name.removeprefix(MARK))
        if event.name.startswith(BACKWARD):
            return None
        event = event.cpu_parent
    return None


def _below(event: Any) -> Iterator[Any]:
    """Descendants, not those within a range of another component."""
    for child in event.cpu_children:
        yield child
        if not child.name.startswith(MARK):
            yield from _below(child)


def _seconds(event: Any, cuda: bool) -> float:
    return float(event.device_time_total if cuda else event.cpu_time_total) / 1e6
