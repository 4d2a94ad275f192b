"""Values that nobody should read in what is passed on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"(?i)(api|access|account|app|auth|client|deploy|encryption|license|master|private|session"
    r"|signing|ssh|anthropic|aws|azure|cohere|comet|gcp|gemini|google|groq|hf|huggingface|mistral"
    r"|neptune|openai|stripe|wandb)[_-]?keys?$"
    r"|(api|access|auth|private|ssh)[_-]?key|secret|passw(or)?d|passphrase|credential"
    r"|(^|[_-])(pass|pwd|dsn|bearer|cookies?|authorization)$|connection[_-]?string|webhook"
    r"|(api|access|auth|bearer|refresh)[_-]?tokens$"
    r"|(?<!pad_)(?<!bos_)(?<!eos_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!mask_)token$"
)
"""A `token` ends the name, and is none of a tokenizer's: `max_tokens` and `pad_token` are none."""

_FOLDERS = ("PWD", "OLDPWD")
"""What a shell calls its folders."""

_KEY = re.compile(r"(?i:^|[_-])keys?$|(?<=[a-z])Keys?$")
_DRAWN = re.compile(r"(?=(?:\D*\d){3})(?=.*[A-Za-z])[\w=+~-]{12,}")
"""What a value looks like that a `key` of no known kind opens something with; `sort_key: name` and
`key: data/train.parquet` open nothing."""

_COUNT = re.compile(r"-?\d{1,6}(\.\d*)?")
_INTERPOLATED = r"\$\{(?:[^{}]|\$\{[^{}]*\})*\}"
_REFERENCE = re.compile(rf"""['"]?{_INTERPOLATED}['"]?""")
_BETWEEN_COMMAS = re.compile(rf"(?:{_INTERPOLATED}|[^,])+")
_IN_A_MAPPING = re.compile(
    rf"""([\w.-]+)(["']?\s*:\s*)((?:{_INTERPOLATED}|"[^"]*"|'[^']*'|[^,{{}}\[\]"'])+)"""
)
_IN_A_URL = re.compile(r"(://[^/@:\s]*:)(?!\$\{)[^/@\s]+@")

_NAME = r"(?P<name>[A-Za-z_][\w.-]*)"
_QUOTED = re.compile(
    _NAME + r"""(?P<sign>["']?\]?\s*(?::\s*\w+\s*=|[:=])\s*[rbuf]?(?P<quote>["']))"""
    r"(?P<value>(?:\\.|(?!(?P=quote)).)+)(?=(?P=quote))"
)
_BARE = re.compile(
    _NAME + r"""(?P<sign>=|:[ \t]+)(?P<value>[^\s"'#,;(){}\[\]$]+)(?=[\s#,;"'}\]]|$)"""
)
_TYPE = re.compile(r"(str|bytes|int|float|bool|Any|None|SecretStr|Optional)\b")
_MAY_HIDE = re.compile(r"(?i)key|secret|pass|pwd|credential|token|dsn|cookie|string|webhook")
_SHAPES = re.compile(
    r"\b(sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}|"
    r"xox[abpr]-[\w-]{10,}|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{30,}|"
    r"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}|(?<=hooks\.slack\.com/)services/[\w/]{10,}|"
    r"(?<=discord\.com/)api/webhooks/[\w/-]{10,})"
)
"""What tokens of well-known services look like: OpenAI, GitHub, GitLab, Hugging Face, Slack, AWS,
Google, and JSON web tokens; and the addresses that post to Slack and Discord."""
_SHORTEST_TOKEN = 15
_BEARER = re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]{8,}")
_PEM = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----)", re.DOTALL
)
_LONG = 6
"""A secret of so many characters is masked wherever it stands, not only behind its key."""


def is_secret(key: str, value: object = None) -> bool:
    """Whether a key's name says that its value is a secret.

    Args:
        key: With the keys above it, joined by dots: below a secret all is secret.
        value: Of a plain `key` it is asked too whether it looks like one.
    """
    if key in _FOLDERS:
        return False
    if any(_SECRET.search(part) for part in key.split(".")):
        return True
    if not _KEY.search(key):
        return False
    is_variable = key.isupper() and "_" in key
    return is_variable or _DRAWN.fullmatch(str(value).strip("'\"")) is not None


def _is_count(key: str, value: object) -> bool:
    """Whether it is a number of tokens, such as `max_token: 512`, and no token."""
    return key.lower().endswith("token") and _COUNT.fullmatch(str(value)) is not None


def masked(override: str) -> str:
    """An override such as `api_key=abc`, its value masked where the key says that it is a secret.

    So are values within mappings, and a URL's password. A reference such as `${oc.env:KEY}` tells
    nothing and stays.
    """
    key, equals, value = override.partition("=")
    if not equals or _REFERENCE.fullmatch(value) or _is_count(key, value):
        return override
    if is_secret(key.lstrip("+~"), value):
        return f"{key}={MASK}"
    return f"{key}={_IN_A_MAPPING.sub(_mask_item, _without_tokens(value))}"


def is_masked(override: str) -> bool:
    """Whether something in it was masked."""
    return MASK in override.partition("=")[2]


def _mask_item(found: re.Match[str]) -> str:
    key, colon, value = found.groups()
    hidden = is_secret(key, value.strip()) and not _REFERENCE.fullmatch(value.strip())
    return f"{key}{colon}{MASK}" if hidden else found[0]


def masked_text(text: str) -> str:
    """Code, a difference or a config as text, what looks like a secret in it masked.

    It may mask too much, and what a line computes stays: `token = read_token()` tells nothing.
    """
    text = _without_tokens(_PEM.sub(rf"\1{MASK}\2", text))
    lines = text.splitlines(keepends=True)
    return "".join(_masked_line(line) if _MAY_HIDE.search(line) else line for line in lines)


def _without_tokens(text: str) -> str:
    """Text in which what tells by itself that it is a secret is masked, whatever its key."""
    text = _IN_A_URL.sub(rf"\1{MASK}@", text)
    return _SHAPES.sub(MASK, _BEARER.sub(rf"\1 {MASK}", text))


def _masked_line(line: str) -> str:
    return _BARE.sub(_mask_bare, _QUOTED.sub(_mask_quoted, line))


def _mask_quoted(found: re.Match[str]) -> str:
    if not is_secret(found["name"], found["value"]) or _REFERENCE.fullmatch(found["value"]):
        return found[0]
    return f"{found['name']}{found['sign']}{MASK}"


def _mask_bare(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    behind = found.string[found.end() : found.end() + 1]
    if _is_count(name, value):
        return found[0]
    is_code = bool(_TYPE.fullmatch(value)) or (
        found["sign"] == "=" and value.isidentifier() and behind == ","
    )
    return found[0] if is_code or not is_secret(name, value) else f"{name}{found['sign']}{MASK}"


def masked_values(plain: Any) -> Any:
    """A config of mappings and lists, the values of secret-looking keys masked.

    Such a value is masked in other text too: what an interpolation or an override made of it.
    """
    return _masked(plain, "", _known(plain))


def masked_error(text: str, *known_from: Mapping[Any, Any]) -> str:
    """What an app raised, without the secrets in it.

    Args:
        text: A traceback.
        known_from: Configs and environments: of these too what stands in the text by itself.
    """
    for secret in _known(known_from):
        text = text.replace(secret, MASK)
    return masked_text(text)


def _known(plain: Any) -> list[str]:
    """The secrets that are long enough to be told from other text, longest first."""
    known = {str(value) for value in _secrets(plain, "") if len(str(value)) >= _LONG}
    return sorted(known, key=len, reverse=True)


def _secrets(node: Any, key: str) -> Iterator[str | int | float]:
    """The values that are secret by their keys."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _secrets(value, _below(key, name))
    elif isinstance(node, list | tuple):
        for item_key, value in _items(key, node):
            yield from _secrets(value, item_key)
    elif _hides(key, node):
        yield node


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _items(key: str, values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The values of a list, by its key; behind an option such as `--api-key` by that too."""
    before: object = None
    for value in values:
        option = before if isinstance(before, str) and before.startswith("-") else None
        yield key if option is None else _below(key, option.lstrip("-")), value
        before = value


def _hides(key: str, value: Any) -> bool:
    """Whether a value of that key is a secret; a reference to one, or none at all, is not."""
    if (
        isinstance(value, bool)
        or value is None
        or not is_secret(key, value)
        or _is_count(key, value)
    ):
        return False
    return not isinstance(value, str) or not (
        value in ("", "???", MASK) or _REFERENCE.fullmatch(value)
    )


def _masked(node: Any, key: str, known: list[str]) -> Any:
    if isinstance(node, Mapping):
        return {k: _masked(value, _below(key, k), known) for k, value in node.items()}
    if isinstance(node, list | tuple):
        return [_masked(value, item_key, known) for item_key, value in _items(key, node)]
    if _hides(key, node):
        return MASK
    if not isinstance(node, str):
        return node
    for secret in known:
        node = node.replace(secret, MASK)
    if len(node) >= _SHORTEST_TOKEN or "://" in node:
        node = _without_tokens(node)
    return _BETWEEN_COMMAS.sub(lambda part: masked(part[0]), node) if "=" in node else node


def masked_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables, those of secret-looking names masked."""
    return {name: str(value) for name, value in masked_values(dict(variables)).items()}
