"""Trackers that people use, trackio and wandb, beside metrics.jsonl: fed by a process of their own.

Training imports neither and waits for neither; what it learns of them is that they were lost, once.

choice     what ``--track`` means, and whether it is installed
follower   rank 0's end: starts that process, looks whether it lives
program    that process: keeps a sender alive, and ends it after the run
sender     a child of it: from metrics.jsonl to the tracker
lines      metrics.jsonl as it grows, and what of a line may be sent
sent       what was handed over, and under which id
settings   of the recipe, without a word that anybody chose
libraries  trackio and wandb, the only place that imports them
"""
