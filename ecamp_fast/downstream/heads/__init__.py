"""What is put on a trunk's patch tokens, and the losses of it."""
