"""Checkpoints of versions up to 0.1: what is read of them, what is refused, and what a kill leaves."""

from typing import Any

from mutant import mutants


def conversions() -> Any:
    """Of a checkpoint of two ranks, written by hand: what comes of it as it is, changed, and half converted."""
    import os
    import shutil
    from pathlib import Path

    import torch

    from ecamp_fast.run.checkpoint.find import find
    from ecamp_fast.weights import torch_archive

    class Call:
        def __reduce__(self) -> Any:
            return os.getpid, ()

    def swapped(path: Path) -> None:
        file = path / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
        content = torch.load(file, weights_only=True)
        ranges = content["optimizer_state_dict"]["param_slice_mappings"][0]
        one, other = [name for name in ranges if name.endswith("qkv.weight")][:2]
        ranges[one], ranges[other] = ranges[other], ranges[one]
        torch.save(content, file)
        _seal(path)

    def planted(path: Path) -> None:
        file = path / "mp_rank_00_model_states.pt"
        torch.save(torch.load(file, weights_only=True) | {"more": Call()}, file)
        _seal(path)

    def half_converted(path: Path) -> None:
        _converted(path.parent)
        (path.parent / "converted").mkdir()
        path.rename(path.parent / "converted" / path.name)

    def found(path: Path) -> Any:
        half_converted(path)
        return find(path.parent, "auto", lambda *_: None)

    def endless(path: Path) -> Any:
        torch.save({"values": [0] * (torch_archive.MOST_VALUES + 1)}, path / "more.pt")
        return len(torch_archive.read_deepspeed_file(path / "more.pt"))

    def unlisted(path: Path) -> None:
        (path / "more").touch()

    changes = (lambda _: None, swapped, planted, half_converted, unlisted, shutil.rmtree)
    return [_in_a_run(lambda path, change=change: (change(path), _converted(path.parent))) for change in changes] + [
        _in_a_run(found),
        _in_a_run(endless),
    ]


def _in_a_run(action: Any) -> Any:
    """What it gives, or the error's name; what lies in the folder then."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoints"
        _write(folder / "step-00000002")
        try:
            told = action(folder / "step-00000002")
        except Exception as error:
            told = type(error).__name__
        return str(told).replace(temporary, ""), sorted(path.name for path in folder.iterdir())


def _recipe() -> Any:
    from ecamp_fast.config import load_recipe

    small = {"model.vision.width": 24, "model.vision.heads": 2, "model.decoder.width": 24, "model.decoder.heads": 2}
    depths = {"model.vision.depth": 2, "model.decoder.depth": 1, "model.text.width": 24, "model.text.ffn": 24}
    return load_recipe("demo", [f"{key}={value}" for key, value in (small | depths).items()])


def _converted(folder: Any) -> Any:
    """Digests of what the converted checkpoints hold."""
    import hashlib

    from ecamp_fast.run.checkpoint.former import convert
    from ecamp_fast.run.checkpoint.read import load

    found = convert(folder, _recipe(), {"recipe": {}, "deepspeed": {}}, lambda *_: None)
    tensors = [load(path)[0] for path in found.converted]
    return [
        hashlib.sha256(b"".join(name.encode() + one[name].numpy().tobytes() for name in sorted(one))).hexdigest()
        for one in tensors
    ], sorted(found.refused)


def _write(path: Any) -> None:
    """Ranks part each group in its middle; names are those of then."""
    import torch

    from ecamp_fast.model.ecamp import FORMER_NAMES, Ecamp
    from ecamp_fast.model.groups import parameter_groups

    def former(name: str) -> str:
        for before, now in FORMER_NAMES.items():
            name = name.replace(now, before)
        return name

    path.mkdir(parents=True, mode=0o700)
    torch.manual_seed(0)
    model = Ecamp(_recipe(), 40)
    names = {id(parameter): former(name) for name, parameter in model.named_parameters()}
    module = {former(name): tensor for name, tensor in model.state_dict().items()}
    torch.save({"module": module, "optimizer": None}, path / "mp_rank_00_model_states.pt")
    groups = [group["params"] for group in parameter_groups(model, 0.1)]
    flats = [torch.cat([one.detach().view(-1) for one in group]) for group in groups]
    for rank in range(2):
        state: dict[str, Any] = {"single_partition_of_fp32_groups": [], "param_slice_mappings": []}
        state["base_optimizer_state"] = {"state": {}}
        for number, (group, flat) in enumerate(zip(groups, flats, strict=True)):
            low, high = (0, len(flat) // 2) if rank == 0 else (len(flat) // 2, len(flat))
            ranges, end = {}, 0
            for parameter in group:
                start, end = end, end + parameter.numel()
                begin, stop = max(start, low), min(end, high)
                if begin < stop:
                    ranges[names[id(parameter)]] = {"start": begin - low, "numel": stop - begin}
            part = flat[low:high].clone()
            state["single_partition_of_fp32_groups"].append(part)
            state["param_slice_mappings"].append(ranges)
            moments = {"step": torch.tensor(2.0), "exp_avg": part * 2, "exp_avg_sq": part * part}
            state["base_optimizer_state"]["state"][number] = moments
        torch.save({"optimizer_state_dict": state}, path / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    _seal(path)


def _seal(path: Any) -> None:
    import hashlib
    import json

    files = [
        {"name": file.name, "bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(path.glob("*.pt"))
    ]
    position = {"step": 2, "world": 2, "data": "d", "recipe": "r"}
    (path / "MANIFEST.json").write_text(json.dumps({"format": 1, "position": position, "files": files}))


CASES = "tests/run/checkpoint/test_former.py"
MUTANTS = [
    *mutants(
        "ecamp_fast/run/checkpoint/former.py",
        CASES,
        conversions,
        {
            "what a kill left between stays there": ("Conversion(_finish(folder), {})", "Conversion({}, {})"),
            "the former one is deleted": ("    rename(path, aside)\n", "    shutil.rmtree(path)\n"),
        },
    ),
    *mutants(
        "ecamp_fast/run/checkpoint/former.py",
        CASES,
        conversions,
        {"digests and owners do not matter": ("if fault := fault_of(path, _listed):", "if fault := '':")},
    ),
    *mutants(
        "ecamp_fast/run/checkpoint/find.py",
        CASES,
        conversions,
        {"half converted ones are started over": ("if any(committed(folder / CONVERTED)):", "if False:")},
    ),
    *mutants(
        "ecamp_fast/run/checkpoint/former_files.py",
        CASES,
        conversions,
        {"ranges of other parameters are fine": ("        _compare(state, weights, model)\n", "")},
    ),
    *mutants(
        "ecamp_fast/run/checkpoint/former_files.py",
        CASES,
        conversions,
        {"the last rank comes first": ("for rank in sorted(found)]", "for rank in sorted(found, reverse=True)]")},
    ),
    *mutants(
        "ecamp_fast/run/checkpoint/former_files.py",
        "tests/run/test_former_names.py",
        conversions,
        {"ranges keep the names of then": ("yield kind, current_name(former),", "yield kind, former,")},
    ),
    *mutants(
        "ecamp_fast/weights/torch_archive.py",
        CASES,
        conversions,
        {
            "what a pickle names is called": (
                '            raise Refused(f"its pickle names {module}.{name}, which no tensor needs")\n',
                "            return super().find_class(module, name)\n",
            )
        },
    ),
    *mutants(
        "ecamp_fast/weights/torch_archive.py",
        CASES,
        conversions,
        {"endless contents are read": (" or self._left < 0:", ":")},
    ),
]
