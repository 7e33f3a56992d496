"""What watches over a run: one writer, ranks that hang or die, numbers that go bad, a record of every step.

numbers       what a run makes of bad numbers: updates left out, their budget, spikes, roll backs
spikes        which values lie far above the last ones
watch         gives the steps of a run to ``numbers``, writes down what it says
spoil         where tests make numbers go bad
recorder      writes RUN/flight.bin: 64 bytes for every optimizer step
flight        that file: its records, read and appended
tally         what a record is made of, gathered on the device
compare       the first step and quantity in which two runs differ
heartbeat     where the main thread of a rank is
watchdog      ends this rank where another is dead, stopped, silent or stuck
judge         whether a run must end, and who is to blame
ending        why the ranks of a run left together
channel       words between the ranks, past all collectives
member        the processes of a run
loader_fault  a loader that fails on one rank: all save, then leave
guard         requests to stop, the death of the launcher, the lock: what ends a rank in order
lock          one writer per run directory, and whether it lives
processes     processes of this machine: who is alive, who started whom
"""

"""What watches over a run: one writer, ranks that hang or die, numbers that go bad, a record of every step."""
