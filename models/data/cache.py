"""A small cache of data sets, so that a process that trains many models reads each once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.data.dataset import Dataset

CACHE_SIZE = 4

_cache: OrderedDict[Hashable, Dataset] = OrderedDict()
_lock = threading.Lock()


def cached(key: Hashable, read: Callable[[], Dataset]) -> Dataset:
    """The data set of this key, read at the first call; the least recently used one is dropped."""
    with _lock:
        if key not in _cache:
            _cache[key] = read()
        _cache.move_to_end(key)
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
        return _cache[key]


def clear_cache() -> None:
    """Forget every data set."""
    with _lock:
        _cache.clear()
