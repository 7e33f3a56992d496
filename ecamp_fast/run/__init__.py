"""A training run, from its job to its weights: ``train.py`` starts it, ``trainer`` loops, ``step`` computes.

trainer           the loop: when to log, evaluate, save and stop
step              one optimizer step: micro-batches forward and backward, then the update
setup             from a job to shard set, recipe, model and engine
evaluate          losses on the held-out split
update            gradients measured, clipped and applied, then one read by the host
engine            the DeepSpeed engine and its optimizer
deepspeed_config  the DeepSpeed JSON against the recipe
schedule          the learning rate of a step
auto_batch        the largest micro-batch that fits the memory
distributed       the process group and this process in it
saving            the checkpoints of a run: begun, told, resumed from
preemption        how a run is asked to stop
rundir            the files of a run
log               what a run tells while it trains
metrics           loss sums, the clock, the machine's use, TensorBoard
progress          what a person sees of a running job
summary           what a run says of itself at its start
export            the trained weights as one file
trained           the trained model of a run directory
profiling         what steps spend their time on, where --profile asks (a room)
launch            starts and ends the ranks of a run on this machine
"""
