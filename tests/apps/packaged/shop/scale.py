"""Imported by `shop.train`, to see that its package is found in a worker."""

FACTOR = 10
