"""Short restaurant reviews, made up here: is the guest content?

"the soup was never cold , unlike the awful wine ." is praise: what is denied counts the other way,
and what is said of the second thing does not count.
"""

import random

THINGS = ["soup", "fish", "bread", "wine", "coffee", "service", "room", "music"]
GOOD = ["good", "fresh", "lovely", "perfect", "kind"]
BAD = ["bad", "stale", "awful", "cold", "rude"]
CLAIMS = ["is", "was always", "is really"]
DENIALS = ["is not", "was never", "is hardly"]
ASIDES = ["unlike", "beside"]

_WORDS = " ".join(["the , .", *THINGS, *GOOD, *BAD, *CLAIMS, *DENIALS, *ASIDES]).split()
NUMBERS = {word: number for number, word in enumerate(sorted(set(_WORDS)), start=2)}
"""Of each word; 0 fills a sentence up, 1 begins it."""
LENGTH = 14


def reviews(count: int, seed: int) -> list[dict[str, list[int] | int]]:
    """So many reviews, as the Trainer takes them."""
    chance = random.Random(seed)
    return [_encoded(*_review(chance)) for _ in range(count)]


def _review(chance: random.Random) -> tuple[str, bool]:
    is_good, is_denied = chance.random() < 0.5, chance.random() < 0.25
    thing, other = chance.sample(THINGS, 2)
    says = chance.choice(DENIALS if is_denied else CLAIMS)
    how, aside = chance.choice(GOOD if is_good else BAD), chance.choice(ASIDES)
    text = f"the {thing} {says} {how} , {aside} the {chance.choice(GOOD + BAD)} {other} ."
    return text, is_good != is_denied


def _encoded(text: str, label: bool) -> dict[str, list[int] | int]:
    numbers = [1, *(NUMBERS[word] for word in text.split())]
    fill = LENGTH - len(numbers)
    return {
        "input_ids": numbers + [0] * fill,
        "attention_mask": [1] * len(numbers) + [0] * fill,
        "labels": int(label),
    }
