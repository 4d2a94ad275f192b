"""TensorBoard: a `SummaryWriter` without a folder writes into the job's, and ends with the segment.

By itself it would write below the working folder, named by time and host: one for each segment.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sweeps.worker.trackers.segment import current


def teach(module: Any) -> None:
    """Take part in the making of a writer, torch's or tensorboardX's."""
    writer = module.SummaryWriter
    writer.__init__ = _placed(writer.__init__)


def _placed(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def make(writer: Any, *args: Any, **options: Any) -> None:
        here = current()
        if here is not None:
            names = ("logdir", "log_dir")
            if not any(args[:1]) and not any(options.get(name) for name in names):
                name = f"tensorboard.{here.rank}" if here.rank else "tensorboard"
                args = (str(here.folder / name), *args[1:])
                options = {k: v for k, v in options.items() if k not in names}
            here.at_end(writer, lambda failed: writer.close())
        init(writer, *args, **options)

    return make
