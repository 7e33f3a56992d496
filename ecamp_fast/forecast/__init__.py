"""What a run would do, told before it does anything: `train --dry-run`. Nothing here writes, or starts a rank.

plan      all of it, for a command line; raises what the run would raise
settings  every key of the recipe and of DeepSpeed's JSON, with what it is and where that comes from
dataset   what is trained on, as far as the forecast asks
resuming  whether RUN is there, and from which step it would go on
memory    bytes of a GPU: weights and states by ZeRO's stage, activations
disk      bytes in RUN and in the cache
hours     from a step that was measured, or from the roofline, and then PROJECTED
switched  what is off for want of data, of a package or of a GPU
page      the plan in 80 columns
"""
