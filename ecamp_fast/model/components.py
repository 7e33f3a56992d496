"""The components of the model by name, and ranges around them that profilers see.

The ranges are hooks: they are there while somebody watches, and nothing is paid for them at any other time. They lie
around what is compiled, not inside it, so nothing compiles again for them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.profiler import record_function

from ecamp_fast.model import ecamp
from ecamp_fast.model.ecamp import Ecamp

OTHER = "other"  # of the forward pass, outside of all others
# Modules and functions of the model -> component, under the names of ``flops.step_work`` where it has them
MODULES = {
    "encoder": "encoder",
    "encoder.patch": "patch embedding",
    "decoder": "decoder",
    "text.bridge": "fusion",
    "text.embeddings": "text embedding",
    "text.fusion": "fusion",
    "text.layers": "text layers",
    "text.head": "MLM head",
}
FUNCTIONS = {"mim_loss": "image loss", "super_resolution_loss": "super-resolution", "mlm_loss": "MLM head"}
MARK = "component: "  # before its name, in the name of a range


def in_range(function: Callable[..., Any], component: str) -> Callable[..., Any]:
    """The same function; profilers see a range of that component around it."""

    def wrapper(*arguments: Any, **named: Any) -> Any:
        with record_function(MARK + component):
            return function(*arguments, **named)

    return wrapper


@contextmanager
def scopes(model: nn.Module) -> Iterator[list[str]]:
    """Inside, the last name of the list is the component whose forward runs; profilers see it as a range.

    The components of a model that is not ``Ecamp`` are its children, under the names it has for them.
    """
    running: list[str] = [OTHER]
    ranges: list[Any] = []

    def enter(component: str) -> None:
        running.append(component)
        ranges.append(record_function(MARK + component))
        ranges[-1].__enter__()

    def leave() -> None:
        running.pop()
        ranges.pop().__exit__(None, None, None)

    def watched(function: Callable[..., Tensor], component: str) -> Callable[..., Tensor]:
        def wrapper(*arguments: Any) -> Tensor:
            enter(component)
            try:
                return function(*arguments)
            finally:
                leave()

        return wrapper

    with ExitStack() as undo:
        for module, component in _modules(model):
            before = module.register_forward_pre_hook(lambda *_, name=component: enter(name))
            after = module.register_forward_hook(lambda *_: leave(), always_call=True)
            undo.callback(before.remove)
            undo.callback(after.remove)
        for name, component in FUNCTIONS.items():
            function = getattr(ecamp, name)
            undo.callback(setattr, ecamp, name, function)
            setattr(ecamp, name, watched(function, component))
        yield running


def _modules(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    yield model, OTHER
    if not isinstance(model, Ecamp):
        yield from ((child, name) for name, child in model.named_children())
        return
    for name, component in MODULES.items():
        parent, _, last = name.partition(".")
        module = getattr(model, parent)
        module = getattr(module, last) if module is not None and last else module
        if isinstance(module, nn.ModuleList):
            yield from ((layer, component) for layer in module)
        elif module is not None:
            yield module, component
