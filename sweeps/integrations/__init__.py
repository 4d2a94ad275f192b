"""Other people's training loops in a trial: what reports, checkpoints and goes on for them."""
