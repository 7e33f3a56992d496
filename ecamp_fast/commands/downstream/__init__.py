"""Commands that use what a run has learned.

export    the trained image encoder for other libraries
features  frozen features of a shard set as one file
imports   ``import``: released checkpoints into weights for ``init_from``
zero_shot findings by their names alone: prompts, negated prompts, the map

finetune  ``finetune TASK``: which there are
classify  ``finetune classify``: classes of an image
segment   ``finetune segment``: masks of findings
detect    ``finetune detect``: boxes in an image
probe     what frozen features say, beside what they must beat
predict   probabilities of a fitted classifier for image files
evaluate  encoders on tasks, ours beside the paper's tables
ablate    the rows of Tables 4 and 5, pre-trained and scored

visualize   where words look, as a page of pictures and numbers
label_free  ``evaluate --label-free``: a report card without labels

task_options  what the commands of all tasks share
"""
