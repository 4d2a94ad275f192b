"""Sweeps that are sent elsewhere, and found again."""
