"""Hydra's face of caviar: `hydra/sweeper=ray_tune`."""
