"""Commands that use what a run has learned.

export    the trained image encoder for other libraries
features  frozen features of a shard set as one file
imports   ``import``: released checkpoints into weights for ``init_from``
"""
