"""What the pre-trained encoder is good for: frozen features, probed with their labels.

features  the features of a split, by a trained encoder and by untrained ones
logistic  ridge-penalised logistic regression of all findings at once
probe     AUROC of a linear probe, paired with the same probe on an untrained encoder
threads   one thread for small matrices
"""
