"""What the pre-trained encoder is good for: probes, fine-tuning, evaluation."""
