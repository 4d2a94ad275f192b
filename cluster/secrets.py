"""Which names say that their value is a secret."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"(?i)(api|access|private)_?key|secret|passw(or)?d|credential"
    r"|(?<!pad_)(?<!bos_)(?<!eos_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!mask_)token$"
)
"""A `token` ends the name, and is none of a tokenizer's: `max_tokens` and `pad_token` are none."""


def is_secret(key: str) -> bool:
    """Whether the key's name says that its value is a secret."""
    return bool(_SECRET.search(key))
