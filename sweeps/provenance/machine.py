"""What a process stands on: the machine, Python, every installed package, what torch was built for.

It is the same for all that a process trains, so it is gathered once and kept once: by its hash.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeps.secrets import masked_environment

VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("OMP_DYNAMIC", "OMP_SCHEDULE", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"),
    *("MKL_CBWR", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE"),
    *("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES"),
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_LAUNCH_BLOCKING"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NCCL_ALGO", "NCCL_PROTO"),
    *("PYTHONHASHSEED", "TF_DETERMINISTIC_OPS", "XLA_FLAGS", "JAX_ENABLE_X64"),
    *("LD_PRELOAD", "LC_ALL", "LANG", "TZ"),
)
"""Environment variables that change numbers: threads, instruction sets, determinism, order."""

_DISTRIBUTION = re.compile(r"(?P<name>.+?)-(?P<version>\d[^-]*)(-.*)?\.(dist|egg)-info", re.I)


@functools.cache
def packages() -> dict[str, str]:
    """Every installed distribution's version, by name; the first on the import path counts.

    The names of their folders say it (PyPA, "Recording installed projects"): to read the metadata
    of each takes a hundred times as long.
    """
    found: dict[str, str] = {}
    for place in sys.path:
        for name, version in sorted(_distributions(place)):
            found.setdefault(name, version)
    return dict(sorted(found.items()))


def _distributions(place: str) -> Iterable[tuple[str, str]]:
    try:
        names = os.listdir(place or ".")
    except OSError:  # no folder: a zip file, or nothing
        return
    for name in names:
        if (match := _DISTRIBUTION.fullmatch(name)) is not None:
            yield re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"]


def machine() -> dict[str, Any]:
    """What this process stands on, as plain JSON values; torch's part where it is imported."""
    torch = sys.modules.get("torch")
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "packages": packages(),
        "variables": _variables(),
        "hash_seed": _hash_seed(),
        **({} if torch is None else {"torch": _torch(torch)}),
    }


def identity(of: Mapping[str, Any]) -> str:
    """The hash by which a machine is kept."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def _variables() -> dict[str, str]:
    return masked_environment({name: os.environ[name] for name in VARIABLES if name in os.environ})


def _hash_seed() -> str:
    """How `hash(str)` is seeded: by it sets and so some programs change their order."""
    return "random" if sys.flags.hash_randomization and not _fixed_hashes() else "fixed"


def _fixed_hashes() -> bool:
    return os.environ.get("PYTHONHASHSEED", "random") != "random"


@functools.cache
def _cpu() -> dict[str, Any]:
    model, flags = _cpu_info()
    return {
        "model": model,
        "architecture": platform.machine(),
        "count": os.cpu_count(),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
    }


_INSTRUCTIONS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "fphp", "sve", "sve2", "bf16", "i8mm"),
)
"""Those by which libraries choose their kernels: other sums in another order."""


def _cpu_info() -> tuple[str, set[str]]:
    """The processor's name and flags, from Linux; elsewhere the name that Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown", set()
    first = dict(
        [part.strip() for part in line.partition(":")[::2]]
        for line in text.partition("\n\n")[0].splitlines()
    )
    flags = first.get("flags") or first.get("Features") or ""
    name = first.get("model name") or first.get("CPU part") or platform.processor()
    return name or "unknown", set(flags.split())


def _torch(torch: Any) -> dict[str, Any]:
    """What torch computes with."""
    cuda = torch.cuda.is_initialized()  # to ask for devices would initialize it
    return {
        "version": str(torch.__version__),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "mkldnn": torch.backends.mkldnn.is_available(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "devices": [_device(torch, i) for i in range(torch.cuda.device_count())] if cuda else [],
    }


def _device(torch: Any, index: int) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(index)
    return {
        "name": about.name,
        "capability": f"{about.major}.{about.minor}",
        "memory": about.total_memory,
    }
