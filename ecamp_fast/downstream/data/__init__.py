"""Shard sets as tasks read them: labels, subsets of the training split, images with masks and boxes.

augment  image, masks and boxes turned and scaled together
"""
