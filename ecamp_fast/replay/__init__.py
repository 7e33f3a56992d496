"""``ecamp-fast replay``: a step of a run once more, on this machine, with every tensor looked at.

rebuild   from a run directory to the step: newest checkpoint before it, the same samples, keys and seeds
recorded  what the run recorded of the step, against what came now
search    finds the first number of a step that is not finite, and whose it is
"""
