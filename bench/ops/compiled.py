"""What the compiler makes of kernels, without a GPU: registers, spills, shared memory for each chip.

Launches recorded by ``tuning.recorded`` are compiled for the chip with the argument types and constants they were made
with, as Triton's own launcher would. Not possible in a process that runs Triton's interpreter.
"""

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.chips import SHARED_MEMORY
from ecamp_fast.kernels.dispatch import INTERPRETED
from ecamp_fast.kernels.tuning import Launch, recorded

CHIPS = tuple(SHARED_MEMORY)  # A100; H100 and H200; B200
WARP = 32
ALIGNED = 16  # bytes, or the divisor of an integer, that Triton specialises on

_TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.uint8: "u8",
    torch.int32: "i32",
    torch.int64: "i64",
}


def compile_launch(launch: Launch, chip: str) -> dict[str, Any]:
    """Compile one recorded launch. Returns kernel, chip, constants, warps, registers, spilled, shared, loops.

    registers: of one thread   spilled: bytes of local memory a thread stores and loads   shared: bytes of a block
    loops: instructions in the body of each loop, in the order of their first one.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if INTERPRETED:
        raise RuntimeError("compiling needs a process without TRITON_INTERPRET")
    signature, constants, attributes = _specialise(launch)
    options = {key: value for key, value in launch.constants.items() if key in ("num_warps", "num_stages")}
    source = ASTSource(launch.kernel, signature, constants, attributes)
    target = GPUTarget("cuda", int(chip.removeprefix("sm_")), WARP)
    compiled = triton.compile(source, target=target, options=options)
    usage = _usage(compiled.asm["cubin"])
    return {
        "kernel": launch.kernel.__name__,
        "chip": chip,
        "constants": {key: value for key, value in launch.constants.items() if type(value) in (bool, int)},
        "warps": compiled.metadata.num_warps,
        "shared": compiled.metadata.shared,
        **usage,
    }


def compile_report(cases: Mapping[str, Callable[[], object]], chips: Sequence[str] = CHIPS) -> list[dict[str, Any]]:
    """``compile_launch`` of every distinct launch that the cases make, with the launch constants of each chip.

    cases: operation -> what calls it, forward and backward, with CPU tensors of the real types and sizes.
    """
    rows: list[dict[str, Any]] = []
    for chip in chips:
        for operation, call in cases.items():
            with recorded(chip) as launches:
                call()
            for launch in launches:
                row = {"operation": operation, **compile_launch(launch, chip)}
                if row not in rows:
                    rows.append(row)
    return rows


def faults(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What breaks the budget: spills, or more shared memory than a block of the chip can have."""
    found = [f"{r['kernel']} on {r['chip']} spills {r['spilled']} bytes" for r in rows if r["spilled"]]
    for row in rows:
        if row["shared"] > SHARED_MEMORY[row["chip"]]:
            found.append(f"{row['kernel']} on {row['chip']} needs {row['shared']} bytes of shared memory")
    return found


def _specialise(launch: Launch) -> tuple[dict[str, str], dict[str, Any], dict[tuple[int, ...], list[list[Any]]]]:
    """(types, constants, attributes) of the kernel's parameters, by the rules of Triton's launcher."""
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments.get(parameter.name, launch.constants.get(parameter.name))
        one = type(value) is int and value == 1 and not _general(parameter, value)
        if parameter.is_constexpr or value is None or one:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        signature[parameter.name] = _type(value)
        address = value.data_ptr() if isinstance(value, Tensor) else value
        if not isinstance(value, float) and address % ALIGNED == 0 and not _general(parameter, value):
            attributes[(index,)] = [["tt.divisibility", ALIGNED]]
    return signature, constants, attributes


def _general(parameter: Any, value: Any) -> bool:
    """Whether the launcher makes one kernel for all values of this parameter. Floats are never specialised."""
    return isinstance(value, float) or bool(parameter.do_not_specialize)


def _type(value: Any) -> str:
    if isinstance(value, Tensor):
        return "*" + _TYPES[value.dtype]
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64"
    return "fp32"


def _usage(cubin: bytes) -> dict[str, Any]:
    """Registers, spills and loops, as the tools that come with Triton read them from the binary."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        resources = _tool("cuobjdump", "--dump-resource-usage", str(file))
        code = _tool("nvdisasm", "-c", str(file))
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", resources)}
    return {"registers": found["REG"], "spilled": found["STACK"] + found["LOCAL"], "loops": _loops(code)}


def _loops(code: str) -> list[int]:
    """Lengths of what lies between a label and a branch back to it."""
    labels: dict[str, int] = {}
    loops: list[tuple[int, int]] = []
    count = 0
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L\w+):", line):
            labels[label[1]] = count
        elif re.search(r"/\*[0-9a-f]{4,}\*/\s+\S", line):
            back = re.search(r"BRA.*`\((\.L\w+)\)", line)
            if back and back[1] in labels and labels[back[1]] < count:
                loops.append((labels[back[1]], count + 1 - labels[back[1]]))
            count += 1
    return [length for _, length in sorted(loops)]


def _tool(name: str, *arguments: str) -> str:
    import triton

    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, check=True).stdout
