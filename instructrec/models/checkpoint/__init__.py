"""Checkpoints in and out: Hugging Face, T5X and our own, tensor by tensor."""
