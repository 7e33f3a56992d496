"""What the pre-trained encoder is good for: frozen features, probed with their labels.

encoder   a trained image encoder with its preprocessing: ``ecamp_fast.load``
export    features of a shard set as one file of numpy's
features  the features of a split, by a trained encoder and by untrained ones
logistic  ridge-penalised logistic regression of all findings at once
probe     AUROC of a linear probe, paired with the same probe on an untrained encoder
threads   one thread for small matrices
"""
