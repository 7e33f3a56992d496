"""What the pre-trained encoder is good for: its features and their worth, task by task.

device    where a task computes
evaluation  the probe of a notebook: ``ecamp_fast.evaluate``
encoder   a trained image encoder with its preprocessing: ``ecamp_fast.load``
export    features of a shard set as one file of numpy's
features  the features of a split, by a trained encoder and by untrained ones
logistic  ridge-penalised logistic regression of all findings at once
probe     AUROC of a linear probe, paired with the same probe on an untrained encoder
threads   one thread for small matrices
zero_shot findings by their names alone: prompts, negated prompts, the map

trunk     the encoder that a task is put on, ours or another's; its tokens three ways
source_digest  what an encoder is by content
result    what a task writes at its end
data      shard sets as tasks read them
training  fitting a task's model
heads     what is put on a trunk's tokens
tasks     classification, probing, segmentation, detection
tables    the tables of the paper, published and measured
visualize what a trained model looks at, and what it reconstructs
"""
