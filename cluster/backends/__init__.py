"""The backends by name; each is a file that is imported when it is used."""

from __future__ import annotations

BACKENDS = {
    "local": "cluster.backends.local:LocalBackend",
    "process": "cluster.backends.process:ProcessBackend",
    "ray": "cluster.backends.ray_jobs:RayBackend",
    "ray_up": "cluster.backends.ray_up:RayUpBackend",
    "slurm": "cluster.backends.slurm:SlurmBackend",
    "kubernetes": "cluster.backends.kubernetes:KubernetesBackend",
}
"""Name in a profile's `backend` -> module:class. Each class has `from_profile(Profile)`."""
