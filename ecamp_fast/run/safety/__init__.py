"""What watches over a run: one writer, ranks that hang or die, numbers that go bad, a record of every step.

recorder  writes RUN/flight.bin: 64 bytes for every optimizer step
flight    that file: its records, read and appended
tally     what a record is made of, gathered on the device
compare   the first step and quantity in which two runs differ
"""
