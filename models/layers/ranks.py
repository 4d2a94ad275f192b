"""What layers say to the other ranks of a process group."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    Group: TypeAlias = dist.ProcessGroup


def shared_group(process_group: Group | None) -> Group | None:
    """The group to talk to, the world for None; None if there is nobody to talk to."""
    if not (dist.is_available() and dist.is_initialized()):
        return None
    group = dist.group.WORLD if process_group is None else process_group
    return group if dist.get_world_size(group) > 1 else None


def gather_rows(row: Tensor, group: Group | None) -> Tensor:
    """`[size]` of each rank to `[ranks, size]` on all; of this process alone without a group."""
    if group is None:
        return row[None]
    rows = [torch.empty_like(row) for _ in range(dist.get_world_size(group))]
    dist.all_gather(rows, row, group=group)
    return torch.stack(rows)
