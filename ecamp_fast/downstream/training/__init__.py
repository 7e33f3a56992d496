"""Fitting a task's model to its data: one device, a hard stop, and a resume that repeats nothing.

settings  every knob, typed, and the rows of SPEC 7 by name
schedule  the learning rate of a step
optimizer parameter groups by layer, and what is averaged over steps
state     checkpoints of a fit, written by ``run.checkpoint``
loop      the steps themselves, validation, early stop
words     what a fit says of itself
"""
