"""What ``ecamp-fast doctor`` looks at: small checks of machine, configuration and data, grouped by subject.

checks        all checks in their order, each guarded, and the exit code of what they found
finding       what a check found: OK, WARN or FAIL, and the hint
run_setup     what the doctor was asked about, and what earlier checks have learned

environment   Python, installation, folders, limits, clock, variables
packages      the dependencies: importable, and new enough
requirements  what the package itself says it needs
devices       the PyTorch build, driver and GPUs, bf16, collectives, Triton, memory
backends      libraries for attention and for decoding: installed, used, or why not
engine        DeepSpeed, and its JSON against the recipe
recipe        the recipe, what it names, and how large its model is
data          the shard set against tokenizer and recipe, and one sample decoded
rundir        whether a run directory that is there may be gone on with
disk          room for checkpoints, shared memory
"""
