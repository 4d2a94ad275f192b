"""How a process computes just now: threads and flags, which a task may set for itself."""

from __future__ import annotations

import sys
from typing import Any


def numerics() -> dict[str, Any]:
    """Plain JSON values; empty where torch is not imported."""
    torch = sys.modules.get("torch")
    return {} if torch is None else _of_torch(torch)


def _of_torch(torch: Any) -> dict[str, Any]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": _matmul_precision(torch),
        "cudnn_deterministic": cudnn.deterministic,
        "cudnn_benchmark": cudnn.benchmark,
        "cuda_matmul": getattr(matmul, "fp32_precision", None),
        "cuda": torch.cuda.is_initialized(),
    }


def _matmul_precision(torch: Any) -> str:
    try:
        precision: str = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch refuses to say where a task has set both its older and newer flags
        return "mixed"
    return precision
