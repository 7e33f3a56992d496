"""A step repeats to the bit on a GPU: what is compiled adds nothing with float atomics, whose order is nobody's.

Inductor writes its kernels for an sm_90 here, without a GPU: traced on the CPU, laid on a device that is described.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch._dynamo.device_interface import CudaInterface
from torch._functorch.aot_autograd import aot_function
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.debug import DebugContext
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.graph import GraphLowering
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.nn.functional import embedding

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.bench.repeats import measure
from ecamp_fast.config import load_recipe
from ecamp_fast.model import lookup as closed
from ecamp_fast.model.compile import blocks
from ecamp_fast.model.ecamp import Ecamp

pytestmark = pytest.mark.filterwarnings("ignore:Your compiler for AOTAutograd")
VOCABULARY = 60
H100 = SimpleNamespace(
    name="NVIDIA H100",
    major=9,
    minor=0,
    total_memory=80 * 2**30,
    multi_processor_count=132,
    regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    shared_memory_per_block=49152,
    shared_memory_per_block_optin=232448,
    shared_memory_per_multiprocessor=233472,
    L2_cache_size=50 * 2**20,
    warp_size=32,
    gcnArchName="",
    uuid="none",
)
# Adds that are float atomics in Inductor's kernels or in the library it calls
ADDING = re.compile(r"tl\.atomic_add|(scatter_add|scatter_reduce|index_add|index_reduce)_?[.(]|index_put_?.*True")


@contextmanager
def described() -> Iterator[None]:
    """Inside, PyTorch takes this machine for one with an H100; nothing can run on it."""
    properties = staticmethod(lambda device=None: H100)
    replaced: dict[str, Any] = {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda._lazy_init": lambda: None,
        "torch._subclasses.fake_tensor.init_gpu_context": lambda device: None,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.get_device_properties": lambda device=None: H100,
        "torch.cuda.get_device_capability": lambda device=None: (9, 0),
        "torch._inductor.scheduler.has_triton": lambda: True,
        "torch.utils._triton.triton_hash_with_backend": lambda: "none",
        "torch._inductor.async_compile.AsyncCompile.triton": lambda *_, **__: None,  # written, not compiled
    }
    with ExitStack() as stack:
        for name, value in replaced.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(mock.patch.object(CudaInterface, "is_available", staticmethod(lambda: True)))
        stack.enter_context(mock.patch.object(CudaInterface, "get_compute_capability", staticmethod(lambda d=None: 90)))
        stack.enter_context(mock.patch.object(CudaInterface, "get_device_properties", properties))
        stack.enter_context(mock.patch.object(CudaInterface.Worker, "get_device_properties", properties))
        yield


def generated(function: Callable[..., Tensor], *inputs: Tensor) -> list[str]:
    """Inductor's code for sm_90, of the forward and of the backward."""
    graphs = []

    def keep(graph: torch.fx.GraphModule, examples: list[Any]) -> Any:
        shapes = [(e.shape, e.stride(), e.dtype) if isinstance(e, Tensor) else e for e in examples]
        graphs.append((graph, shapes))
        return graph

    compiled = aot_function(
        function, keep, keep, decompositions=select_decomp_table(), partition_fn=min_cut_rematerialization_partition
    )
    with mock.patch("torch.compiler.is_compiling", lambda: True):  # as what is traced here will be
        compiled(*inputs).float().sum().backward()
    assert len(graphs) == 2
    return [_code(*graph) for graph in graphs]


def _code(graph: torch.fx.GraphModule, shapes: list[Any]) -> str:
    for node in graph.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = node.kwargs | {"device": torch.device("cuda", 0)}
    graph.recompile()
    mode = FakeTensorMode()
    with described(), V.set_fake_mode(mode), V.set_debug_handler(DebugContext()):
        with mode:
            fakes = [
                torch.empty_strided(s[0], s[1], dtype=s[2], device="cuda") if isinstance(s, tuple) else s
                for s in shapes
            ]
        FakeTensorProp(graph, mode).propagate(*fakes)
        lowering = GraphLowering(graph, example_inputs=fakes)
        with V.set_graph_handler(lowering):
            lowering.run(*fakes)
            code = lowering.codegen()[0]
    return str(getattr(code, "value", code))


def _fake(shape: tuple[Any, ...]) -> Tensor:
    size, stride, dtype = shape
    return torch.empty_strided(size, stride, dtype=dtype, device="cuda")


def adds(codes: list[str]) -> list[str]:
    return [line.strip() for code in codes for line in code.splitlines() if ADDING.search(line)]


@pytest.fixture
def table() -> tuple[Tensor, Tensor]:
    return torch.randn(VOCABULARY, 16, dtype=torch.bfloat16, requires_grad=True), torch.randint(0, VOCABULARY, (64,))


@pytest.mark.slow
@pytest.mark.parametrize(
    "opened", [lambda rows, numbers: embedding(numbers, rows, 0), lambda rows, numbers: rows.float()[numbers]]
)
def test_a_lookup_that_the_compiler_opens_adds_with_atomics(
    opened: Callable[..., Tensor], table: tuple[Tensor, Tensor]
) -> None:
    """So the check below can fail."""
    assert adds(generated(opened, *table))


@pytest.mark.slow
@pytest.mark.parametrize("padding", [closed.NONE, 0])
def test_the_closed_lookup_does_not(table: tuple[Tensor, Tensor], padding: int) -> None:
    codes = generated(lambda rows, numbers: closed.lookup(rows, numbers, padding), *table)
    assert "ecamp_fast.lookup" in codes[0] and "ecamp_fast.lookup_backward" in codes[1] and not adds(codes)


@pytest.mark.slow
def test_no_compiled_block_adds_with_atomics(small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block with the inputs that a step gives it, captured on the way."""
    recipe = small("paper", "text.capacity=fixed", "precision=bf16")
    model = Ecamp(recipe, VOCABULARY).bfloat16()
    taken: dict[str, tuple[torch.nn.Module, tuple[Any, ...]]] = {}

    def take(block: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        kinds = ",".join(type(argument).__name__ for argument in arguments)
        taken.setdefault(f"{type(block).__name__}({kinds})", (block, arguments))

    for block in blocks(model, fixed_text=True):
        block.register_forward_pre_hook(take)
    model(synthetic_batch(recipe, VOCABULARY, [5, 9, 24, 12]))
    assert {name.split("(")[0] for name in taken} == {"Block", "Embeddings", "ContextFusion", "TextLayer", "MlmHead"}
    assert len(taken) == 7  # the decoder's first block gets its projections, the last text layer its query rows
    for name, (block, arguments) in taken.items():
        assert not adds(generated(*_as_function(block, arguments))), name


def _as_function(block: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """A function of the block's weights and of all tensors in its arguments, and these."""
    block._forward_pre_hooks.clear()
    names = [name for name, _ in block.named_parameters()]
    found: list[Tensor] = []
    _through(arguments, lambda tensor: found.append(tensor) or tensor)

    def function(*tensors: Tensor) -> Tensor:
        rest = iter(tensors[len(names) :])
        given = _through(arguments, lambda _: next(rest))
        out: Tensor = functional_call(block, dict(zip(names, tensors, strict=False)), given)
        return out

    inputs = [t.detach().requires_grad_() if t.is_floating_point() else t for t in found]
    return function, *block.parameters(), *inputs


def _through(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The value with every tensor in it changed: tensors, tuples and dataclasses are gone through."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_through(item, change) for item in value)
    if is_dataclass(value):
        return replace(value, **{f.name: _through(getattr(value, f.name), change) for f in fields(value)})
    return value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding", [closed.NONE, 0])
def test_the_closed_lookup_is_pytorchs(dtype: torch.dtype, padding: int) -> None:
    rows, numbers = torch.randn(7, 5, dtype=dtype), torch.tensor([0, 3, 3, 6, 0, 2])
    cotangent = torch.randn(6, 5, dtype=dtype)
    found = []
    for look in (closed._lookup, lambda t, n, p: embedding(n, t, None if p == closed.NONE else p)):
        leaf = rows.clone().requires_grad_()
        out = look(leaf, numbers, padding)
        found.append((out, *torch.autograd.grad(out, leaf, cotangent)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    torch.library.opcheck(closed._lookup, (rows.requires_grad_(), numbers, padding))


@pytest.mark.gpu
@pytest.mark.parametrize("padding", [closed.NONE, 0])
def test_the_closed_lookup_on_a_gpu(padding: int) -> None:
    """As many rows as a micro-batch has, half of them one word, against sums in float64."""
    numbers = torch.randint(0, 30_000, (28_160,), device="cuda").where(torch.rand(28_160, device="cuda") > 0.5, 4)
    table = torch.randn(30_000, 768, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    cotangent = torch.randn(28_160, 768, device="cuda", dtype=torch.bfloat16)
    gradients = [torch.autograd.grad(closed._lookup(table, numbers, padding), table, cotangent)[0] for _ in range(3)]
    truth = torch.zeros(30_000, 768, device="cuda", dtype=torch.float64).index_add_(0, numbers, cotangent.double())
    if padding != closed.NONE:
        truth[padding] = 0
    assert all(torch.equal(gradients[0], other) for other in gradients[1:])
    torch.testing.assert_close(gradients[0].double(), truth, rtol=2**-7, atol=1e-2)


@pytest.mark.gpu
def test_two_steps_give_the_same_gradients_to_the_bit() -> None:
    """At the shape that `bench/on_gpu.sh` times, whose kernels are compiled already."""
    result = measure(load_recipe("paper", ["batch.total=256"]), tokens=110.0, spread=0.4, vocab_size=30_000, times=3)
    assert result["passed"], result["differing"]
