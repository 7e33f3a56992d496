"""Commands that use what a run has learned.

export    the trained image encoder for other libraries
features  frozen features of a shard set as one file
imports   ``import``: released checkpoints into weights for ``init_from``
zero_shot findings by their names alone: prompts, negated prompts, the map

finetune  ``finetune TASK``: which there are
classify  ``finetune classify``: classes of an image
probe     what frozen features say, beside what they must beat
predict   probabilities of a fitted classifier for image files

task_options  what the commands of all tasks share
"""
