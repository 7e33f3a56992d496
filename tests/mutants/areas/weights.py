"""Released checkpoints in, our own files in and out."""

from typing import Any

from mutant import mutants


def converted() -> Any:
    """A released checkpoint of small sizes, as it came, under older names and in part; and our own files."""
    import json
    import tempfile
    from pathlib import Path

    import torch
    from safetensors import safe_open

    from ecamp_fast.config import load_recipe
    from ecamp_fast.errors import ConfigError
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.weights.file import import_weights, load_weights, save_weights
    from ecamp_fast.weights.released_names import BERT, FUSION, HEAD, LEGACY_FUSION, from_released, to_released

    small = (
        "image.high_size=64",
        "image.low_size=32",
        "text.max_tokens=24",
        "model.vision={width: 16, depth: 1, heads: 2, patch: 8}",
        "model.decoder={width: 8, depth: 1, heads: 2}",
        "model.text={width: 12, depth: 1, heads: 3, ffn: 20, dropout: 0.0}",
    )

    def told(state: Any) -> dict[str, float]:
        return {name: round(float(tensor.double().norm()), 4) for name, tensor in state.items()}

    recipe, tied = (load_recipe("official", [*small, f"model.tie_embeddings={tie}"]) for tie in ("false", "true"))
    torch.manual_seed(0)
    model = Ecamp(recipe, 30)
    released = {name: torch.randn_like(tensor) for name, tensor in to_released(model.state_dict(), recipe).items()}
    older = {f"module.{name.replace(FUSION, LEGACY_FUSION)}": tensor for name, tensor in released.items()}
    del older["module." + HEAD + "bias"]
    part = {name: tensor for name, tensor in released.items() if "query" not in name and not name.startswith(HEAD)}
    out: list[Any] = [told(to_released(model.state_dict(), recipe))]
    for tensors in (released, older, part):
        state, report = from_released(tensors, recipe, model.state_dict())
        out += [told(state), report.missing, report.ignored]
    try:
        out.append(told(from_released(released, tied, model.state_dict())[0]))
    except ConfigError as error:
        out.append(str(error))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, tensors in enumerate((released, {n: t for n, t in part.items() if not n.startswith(BERT)})):
            torch.save({"model": tensors}, folder / "released.pth")
            report = import_weights(folder / "released.pth", folder / "ours", recipe)
            with safe_open(folder / "ours", "pt") as file:
                about = json.loads(file.metadata()["ecamp_fast"])
            loaded = load_weights(Ecamp(recipe, 30), folder / "ours", "image" if number else "all")
            out += [report.missing, about["sizes"], loaded.loaded, loaded.missing, loaded.ignored]
        for either in (recipe, tied):
            donor, taker = Ecamp(either, 30), Ecamp(either, 30)
            save_weights(donor, folder / "ours", {"encoder.norm.bias": torch.full((16,), 2.0)})
            loaded = load_weights(taker, folder / "ours")
            out += [told(taker.state_dict()), loaded.missing, loaded.ignored]
            try:
                out.append(load_weights(Ecamp(tied, 30), folder / "ours").loaded)
            except ConfigError as error:
                out.append(type(error).__name__)
    return out


def archived() -> Any:
    """What is read of files of ``torch.save``: values, dtypes, strides; and how a strange name is answered."""
    import argparse
    import fractions
    import tempfile
    from pathlib import Path

    import torch

    from ecamp_fast.errors import DataError
    from ecamp_fast.weights.torch_archive import Refused, _Archive, _Record, _Storage, read_torch_archive

    shared = torch.arange(24.0).reshape(6, 4)
    tensors = {"turned": shared.T, "row": shared[2], "brain": torch.arange(4).bfloat16(), "flag": torch.ones(2).bool()}
    out: list[Any] = []
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "w.pth"
        for contents in (
            {"model": tensors},
            {"model": tensors, "state_dict": {"row": shared[0]}},
            tensors,
            {"w": shared[0], "args": argparse.Namespace(epochs=fractions.Fraction(1, 2))},
        ):
            torch.save(contents, file)
            try:
                out.append({n: (t.tolist(), str(t.dtype), t.stride()) for n, t in read_torch_archive(file).items()})
            except DataError as error:
                out.append(type(error).__name__ + str(error).split(":")[-1][:30])
    archive: Any = _Archive.__new__(_Archive)
    archive.storages = {"0": torch.arange(6.0)}
    for size, offset in ((2, 4), (2, 5), (3, 4)):
        try:
            out.append(archive.view(_Record(_Storage(torch.float32, "0", 6), offset, (size,), (1,))).tolist())
        except (Refused, RuntimeError) as error:  # the second is torch's own
            out.append(type(error).__name__)
    return out


FILE = "tests/weights/test_file.py"
NAMES = "tests/weights/test_released_names.py"
ARCHIVE = "tests/weights/test_torch_archive.py"
PARITY = "tests/test_official_parity.py::test_latent_prediction_and_logits tests/test_official_parity.py::test_losses"

MUTANTS = [
    *mutants(
        "ecamp_fast/weights/released_names.py",
        PARITY,
        converted,
        {
            "query and key of the text layers are swapped": ('("query", "key", "value")', '("key", "query", "value")'),
            "the two convolutions are swapped": (
                'yield from _pair("super_res.conv1", "super_resolution.conv1")\n'
                '    yield from _pair("super_res.conv2", "super_resolution.conv2")',
                'yield from _pair("super_res.conv1", "super_resolution.conv2")\n'
                '    yield from _pair("super_res.conv2", "super_resolution.conv1")',
            ),
        },
    ),
    *mutants(
        "ecamp_fast/weights/released_names.py",
        " ".join(
            f"{NAMES}::{test}"
            for test in (
                "test_there_and_back",
                "test_queries_keys_and_values_find_their_rows",
                "test_older_names_are_known",
                "test_a_fused_matrix_needs_all_its_parts",
                "test_untied_file_does_not_enter_a_tied_model",
            )
        ),
        converted,
        {
            "key and value of fusion are swapped": (
                '"text.fusion.key_value", 0, 2)\n'
                '    yield from _pair(FUSION + "cross_self_attention.value", "text.fusion.key_value", 1, 2)',
                '"text.fusion.key_value", 1, 2)\n'
                '    yield from _pair(FUSION + "cross_self_attention.value", "text.fusion.key_value", 0, 2)',
            ),
            "the bias of the vocabulary is known under one name": (
                '        found.setdefault(HEAD + "bias", found[HEAD + "decoder.bias"])\n',
                "        pass\n",
            ),
            "names of several processes are strange": ('    name = name.removeprefix("module.")\n', ""),
            "the older name of fusion is not known": (
                "if name.startswith(LEGACY_FUSION) else",
                "if name.startswith(FUSION) else",
            ),
            "a fused matrix is made of the parts that are there": ("if len(parts) == counts[ours]}", "if parts}"),
            "a file that ties its embeddings is refused": (
                "and not torch.equal(words, vocabulary)",
                "and torch.equal(words, vocabulary)",
            ),
            "the pooler of what goes out is ones": ("new_zeros(width, width)", "new_ones(width, width)"),
        },
    ),
    *mutants(
        "ecamp_fast/weights/file.py",
        FILE,
        converted,
        {
            "the image side is the text side": (
                'if not name.startswith(("text.", "align."))}',
                'if name.startswith(("text.", "align."))}',
            ),
            "a tied vocabulary is told as missing": ("if id(tensor) not in reached)", "if name not in taken)"),
            "rounded weights are saved, not their masters": (
                "    state |= {name: tensor.contiguous() for name, tensor in (masters or {}).items()}\n",
                "",
            ),
            "a file without words tells a vocabulary of one": (
                "_sizes(recipe, None if words is None else vocab_size)",
                "_sizes(recipe, vocab_size)",
            ),
            "any projection of the vocabulary enters a tied model": (
                "if WORD not in tensors or not torch.equal(tensors[WORD], tensors[VOCABULARY]):",
                "if WORD not in tensors:",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/weights/torch_archive.py",
        f"{ARCHIVE}::test_containers {ARCHIVE}::test_tensor_by_hand_is_read"
        f" {ARCHIVE}::test_tensors_outside_their_storage_are_refused",
        archived,
        {
            "every tensor begins where its storage does": (
                "as_strided(size, stride, offset)",
                "as_strided(size, stride, 0)",
            ),
            "a tensor may end behind its storage": (
                "for n, step in zip(size, stride, strict=True)) + 1 if values",
                "for n, step in zip(size, stride, strict=True)) if values",
            ),
            "bfloat16 is read as float16": ('"BFloat16Storage": torch.bfloat16', '"BFloat16Storage": torch.float16'),
            "tensors keep their strides": (".clone(memory_format=torch.contiguous_format)", ".clone()"),
            "weights under the name model are not found": (
                'for key in ("model", "state_dict"):',
                'for key in ("state_dict",):',
            ),
        },
    ),
    *mutants(
        "ecamp_fast/weights/torch_archive.py",
        f"{ARCHIVE}::test_hostile_pickles_are_refused_and_do_not_run",
        archived,
        {
            "what is not known is taken from where the pickle says": (
                'raise Refused(f"its pickle names {module}.{name}, which no tensor needs")',
                "return super().find_class(module, name)",
            ),
        },
    ),
]
