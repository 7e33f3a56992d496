"""What watches over a run: one writer, ranks that hang or die, numbers that go bad, a record of every step."""
