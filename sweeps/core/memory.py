"""Telling a lack of memory from a bug, in what a task raises and in what Ray says of a dead worker.

A trial that needs more memory than there is has a bad configuration, not a bug: it counts as
diverged, so that the sampler keeps away from its like.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

OUT_OF_MEMORY: Final = "out_of_memory"

ADVICE = (
    "try a smaller batch or model, or fewer trials at once on a node or device "
    "(hydra.sweeper.resources)"
)

_TOLD_BY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "HIP out of memory",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
    "XPU out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "RESOURCE_EXHAUSTED: Out of memory",
)
"""What torch, the libraries under it and XLA say where they raise a plain error."""

_RAY_SAYS = ("due to the node running low on memory", "OutOfMemoryError")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or what it was raised from, says that memory ran out."""
    return any(_says_so(link) for link in _chain(error))


def was_killed_for_memory(reason: str) -> bool:
    """Whether Ray ended a worker because its node ran low on memory, by what it says of it."""
    return any(sign in reason for sign in _RAY_SAYS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = set[int]()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's
        return True
    return any(sign in str(error) for sign in _TOLD_BY)
