"""What watches over a run: one writer, ranks that hang or die, numbers that go bad, a record of every step.

heartbeat     where the main thread of a rank is
watchdog      ends this rank where another is dead, stopped, silent or stuck
judge         whether a run must end, and who is to blame
ending        why the ranks of a run left together
channel       words between the ranks, past all collectives
member        the processes of a run
loader_fault  a loader that fails on one rank: all save, then leave
"""
