"""Classification, probing, segmentation, detection: data, model and score of each.

classify    a classifier, all weights trained or the head alone
segment     masks, by a decoder on patch tokens
detect      a detector on tokens that are computed once
probing     logistic regression on frozen features, beside untrained ones and pixels
patches     logistic regression on single patch tokens: which of them hold a finding
splits      which samples a task is fitted to, chosen by, and judged on
scoring     scores by class and overall, with intervals over patients
timm_model  a fitted classifier as a folder of timm, and what predicts with it

average_precision  mean average precision of boxes
"""
