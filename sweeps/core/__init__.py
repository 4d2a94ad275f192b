"""The decision core, without Ray: what is trained next, and what has been decided."""
