"""From what was asked to a plan: everything that can be wrong before anything starts."""
