"""A live page over all sweeps of a folder, in a browser on this machine."""
