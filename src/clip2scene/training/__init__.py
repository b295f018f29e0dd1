"""Training: the steps, their state, fine-tuning, the choice among checkpoints."""
