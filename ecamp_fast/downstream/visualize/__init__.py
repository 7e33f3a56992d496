"""What a trained model looks at, and what it reconstructs, as pictures and as numbers."""
