"""Classification, probing, segmentation, detection: data, model and score of each."""
