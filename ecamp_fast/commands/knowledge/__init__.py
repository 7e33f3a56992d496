"""Commands of what comes before pre-training: where the findings are that reports name.

attend        ``attend COMMAND``: which there are
attend_train  ``attend train``: GLoRIA on a shard set
"""
