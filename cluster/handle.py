"""Handles: what was submitted, as text that survives a reboot."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.errors import ConfigError

SCHEMES = {
    "local": "local",
    "process": "process",
    "ray": "ray",
    "rayup": "ray_up",
    "slurm": "slurm",
    "k8s": "kubernetes",
}
"""A handle's scheme -> the backend that knows it."""


@dataclass(frozen=True)
class Handle:
    """`scheme://place/job`: `ray://127.0.0.1:8265/raysubmit_x`, `slurm://gpu/123`, `k8s://ns/name`.

    `place` is what the backend needs to find the cluster again, without slashes; `job` is the
    cluster's own name of the job.
    """

    scheme: str
    place: str
    job: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}/{self.job}"

    @classmethod
    def parse(cls, text: str) -> Handle:
        """Read a handle.

        Raises:
            ConfigError: It is none.
        """
        scheme, separator, rest = text.partition("://")
        place, slash, job = rest.partition("/")
        if not separator or scheme not in SCHEMES or not slash or not job or "/" in job:
            known = ", ".join(f"{scheme}://PLACE/JOB" for scheme in SCHEMES)
            raise ConfigError(f"{text!r} is no handle; a handle is one of {known}")
        return cls(scheme, place, job)

    @property
    def backend(self) -> str:
        """The name of the backend that knows it."""
        return SCHEMES[self.scheme]
