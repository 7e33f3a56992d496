"""Shard sets as tasks read them.

labels   what is known of each sample, and uncertain labels resolved by the rule of their class
subsets  1, 10, 100 % of the training split: official lists, or nested subsets of patients
samples  images with labels, masks and boxes, in order or in the keyed order of training
augment  image, masks and boxes turned and scaled together
box_masks  boxes as masks

token_cache  images with boxes, or their tokens, computed once
"""
