"""Classification, probing, segmentation, detection: data, model and score of each.

average_precision  mean average precision of boxes, and its draws
"""
