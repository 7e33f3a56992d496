"""From report text to masked, weighted tokens."""
