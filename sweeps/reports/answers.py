"""What became of a request to a running sweep, in words."""

from __future__ import annotations

from sweeps.journal.events import Requested
from sweeps.render import parameters


def answer(event: Requested) -> str:
    """A request and its answer as one line."""
    match event.asked:
        case {"stop": number}:
            granted = f"trial {number} is to stop"
            refused = f"to stop trial {number}"
        case {"enqueue": dict() as values}:
            granted = f"trial {event.trial} is enqueued: {parameters(values) or 'as proposed'}"
            refused = f"to enqueue {parameters(values)}"
        case {"extend": dict() as bounds}:
            said = ", ".join(f"{key}={_shown(value)}" for key, value in bounds.items())
            granted, refused = f"the sweep now has {said}", f"to set {said}"
        case _:
            granted, refused = "", "something unreadable"
    return granted if event.refusal is None else f"asked {refused}, and refused: {event.refusal}"


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"
