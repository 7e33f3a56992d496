"""What ``ecamp-fast doctor`` looks at: small checks of machine, configuration and data, grouped by subject.

checks        all checks in their order, each guarded, and the exit code of what they found
finding       what a check found: OK, WARN or FAIL, and the hint
run_setup     what the doctor was asked about, and what earlier checks have learned

environment   Python, installation, text encoding, folders, open files, clock
places        home, temporary folder, who may read what is made here
variables     variables of the shell that change a run, and the libraries they put first
host          limits of memory, cores, processes, sizes
cluster       launcher, scheduler, host names, ports, NCCL
packages      the dependencies: importable, and new enough
releases      releases that must not be installed, and the lock
requirements  what the package itself says it needs
devices       the PyTorch build, driver and GPUs, bf16, collectives, Triton, memory
gpu_state     compute mode, slices, memory errors, peer access
backends      libraries for attention and for decoding: installed, used, or why not
engine        DeepSpeed, and its JSON against the recipe
recipe        the recipe, what it names, and how large its model is
data          the shard set against tokenizer and recipe, and one sample decoded
rundir        whose a run directory is that is there, and whether it may be gone on with
disk          room for checkpoints, whether they can be committed, shared memory
"""
