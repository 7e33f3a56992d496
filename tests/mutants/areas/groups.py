"""What the optimizer decays, which blocks are compiled or computed again, which products are in 8-bit floats."""

from typing import Any

from mutant import mutants


def grouped() -> Any:
    from ecamp_fast.config import load_recipe
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.model.groups import parameter_groups

    model = Ecamp(load_recipe("paper", ["model.vision.depth=1", "model.text.depth=1", "model.decoder.depth=1"]), 30)
    model.decoder.norm.requires_grad_(False)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [(group["weight_decay"], [names[id(p)] for p in group["params"]]) for group in parameter_groups(model, 0.05)]


def of_blocks() -> Any:
    """Which modules get another forward, and a step whose blocks are computed again."""
    import torch

    from ecamp_fast.bench.data.synthetic import synthetic_batch
    from ecamp_fast.config import load_recipe
    from ecamp_fast.model import float8
    from ecamp_fast.model.compile import compile_blocks, recompute_blocks
    from ecamp_fast.model.ecamp import Ecamp

    small = (
        "image.high_size=64",
        "image.low_size=32",
        "text.max_tokens=24",
        "model.vision={width: 16, depth: 1, heads: 2, patch: 8}",
        "model.decoder={width: 32, depth: 1, heads: 2}",
        "model.text={width: 24, depth: 1, heads: 3, ffn: 32, dropout: 0.3}",
    )

    def changed(model: Ecamp) -> list[str]:
        return [name for name, module in model.named_modules() if "forward" in vars(module)]

    out: list[Any] = []
    for settings in (["compile=auto"], ["compile=default"], ["compile=default", "text.capacity=fixed"]):
        recipe = load_recipe("paper", [*small, *settings])
        model = Ecamp(recipe, 40)
        out.append((compile_blocks(model, recipe, torch.device("cpu")), changed(model)))
    torch.manual_seed(0)
    model = Ecamp(recipe, 40)
    recompute_blocks(model)
    model(synthetic_batch(recipe, 40, [9, 20])).total.backward()
    gradients = [round(float(parameter.grad.norm()), 6) for parameter in model.parameters()]
    fit = [name for name, module in model.named_modules() if float8._fits(module, name)]
    return out, changed(model), gradients, fit


GROUPS = "tests/model/test_groups.py"
COMPILE = "tests/model/test_compile.py"

MUTANTS = [
    *mutants(
        "ecamp_fast/model/groups.py",
        GROUPS,
        grouped,
        {
            "vectors decay": ("parameter.ndim <= 1 or name", "parameter.ndim < 1 or name"),
            "tokens do not decay": ('name.endswith(".bias")', 'name.endswith((".bias", "token"))'),
            "biases decay and matrices do not": (
                'return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]',
                'return [{"params": free, "weight_decay": weight_decay}, {"params": decayed, "weight_decay": 0.0}]',
            ),
            "nothing is free of decay": (
                '{"params": free, "weight_decay": 0.0}',
                '{"params": free, "weight_decay": weight_decay}',
            ),
            "frozen parameters are decayed": ("if parameter.requires_grad:", "if parameter.is_leaf:"),
        },
    ),
    *mutants(
        "ecamp_fast/model/compile.py",
        f"{COMPILE}::test_what_is_compiled_follows_the_recipe",
        of_blocks,
        {
            "text of any shape is compiled": ("if model.text and fixed_text:", "if model.text:"),
            "auto compiles on a CPU": ('"default" if device.type == "cuda" else "off"', '"default"'),
            "only one kind of block is compiled": ("        yield from model.decoder.blocks\n", "        pass\n"),
        },
    ),
    *mutants(
        "ecamp_fast/model/compile.py",
        "tests/model/test_recompute.py",
        of_blocks,
        {
            "what is computed again drops other values": (
                "block.forward, use_reentrant=False)",
                "block.forward, use_reentrant=False, preserve_rng_state=False)",
            ),
            "text of any shape is not computed again": (
                "for block in blocks(model, fixed_text=True):",
                "for block in blocks(model, fixed_text=False):",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/float8.py",
        "tests/model/test_float8.py::test_which_layers_of_the_model_take_8_bit_floats",
        of_blocks,
        {
            "one width that fits is enough": ("% MULTIPLE == 0 and module", "% MULTIPLE == 0 or module"),
            "widths need only be multiples of 8": ("MULTIPLE = 16", "MULTIPLE = 8"),
            "layers outside the blocks are taken": (
                "if not isinstance(module, nn.Linear) or not name.startswith(BLOCKS):",
                "if not isinstance(module, nn.Linear):",
            ),
            "the image decoder keeps its precision": ('"decoder.blocks.", ', ""),
        },
    ),
]
