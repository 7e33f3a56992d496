"""What watches over a run: one writer, ranks that hang or die, numbers that go bad, a record of every step.

guard      requests to stop, the death of the launcher, the lock: what ends a rank in order
lock       one writer per run directory, and whether it lives
processes  processes of this machine: who is alive, who started whom
"""
