"""Sweeps whose storage is a bucket, on a real S3 server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.bucket import Bucket
from sweeps.folder import find_sweep
from sweeps.results import load_sweep

OUT = open("/tmp/s3out.txt", "w", buffering=1)
pytestmark = [pytest.mark.ray]

ASHA = [
    "curve.py",
    "hydra/sweeper/scheduler=asha",
    "hydra.sweeper.scheduler.max_t=9",
    "hydra.sweeper.metric=loss",
    "hydra.sweeper.mode=min",
    "hydra.sweeper.seed=3",
    "+x=interval(-5,5)",
]


def stored(url: str) -> dict[str, int]:
    return Bucket.parse(url).sizes()


def test_a_sweep_in_a_bucket(sweep: Any, bucket: str) -> None:
    swept = sweep(
        *ASHA, f"hydra.sweeper.storage_path={bucket}/sweeps", "hydra.sweeper.num_samples=12"
    )
    print(file=OUT, *[swept.err, swept.out])
    assert swept.code == 0
    for k, v in stored(bucket).items():
        print(k, v, file=OUT)
    s = load_sweep(find_sweep(f"{bucket}/sweeps/s"))
    print(file=OUT, *[s.trials.counts, [t.step for t in s.trials]])
    print(
        file=OUT,
        *[
            json.dumps(
                json.loads(Bucket.parse(bucket).get("sweeps/s/best/metrics.json")), indent=1
            )[:500]
        ],
    )
    print(file=OUT, *[sweep.caviar("results", f"{bucket}/sweeps/s")])
    print(file=OUT, *[sweep.caviar("resume", f"{bucket}/sweeps/s", "hydra.sweeper.num_samples=14")])
    print(file=OUT, *[sweep.caviar("results", f"{bucket}/sweeps/t")])
    assert 0
