"""A place in an object store, s3:// or gs://: whole objects in, whole objects out.

Credentials, region and endpoint come from where AWS's own tools take them: the environment, its
config files, the machine's role. None of them is ever in a URL, a message or a `repr`.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cluster.errors import ClusterError, ConfigError

SCHEMES = ("s3", "gs")

_CONNECT_S = 3.0
_SILENCE_S = 20.0
"""So long a request may bring nothing before it counts as failed."""
_PATIENCE_S = 30.0
"""So long what fails for a moment is tried again."""
_CHECK_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_AT_ONCE = 8
_CHUNK = 8 * 2**20
_READS = 3

T = TypeVar("T")


class BucketError(ClusterError):
    """An object store refused, or is not there. The message says what, and what to do."""


def is_url(storage: str | os.PathLike[str]) -> bool:
    """Whether a storage path means an object store, or something else with a scheme."""
    return "://" in str(storage)


@dataclass(frozen=True)
class Bucket:
    """A bucket, or a folder in one. It can be pickled: each process opens it for itself."""

    url: str
    """Without a slash at its end."""
    patience_s: float = _PATIENCE_S

    @classmethod
    def parse(cls, url: str, *, key: str = "hydra.sweeper.storage_path") -> Bucket:
        """The place that a user names.

        Raises:
            ConfigError: It is no URL of an object store, or holds more than bucket and path.
        """
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ConfigError(
                f"{key} holds credentials: leave them out of the URL, and give them as "
                f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or in ~/.aws/credentials"
            )
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise ConfigError(
                f"{key} is {url!r}; it must be a folder, or a URL such as s3://bucket/sweeps or "
                f"gs://bucket/sweeps"
            )
        if parts.query or parts.fragment:
            raise ConfigError(
                f"{key} is {url.partition('?')[0]!r} and more; it must end with its path: region "
                f"and endpoint are given as AWS_REGION and AWS_ENDPOINT_URL"
            )
        path = "/".join(part for part in parts.path.split("/") if part)
        return cls(f"{parts.scheme}://{parts.netloc}" + (f"/{path}" if path else ""))

    def __truediv__(self, name: str) -> Bucket:
        """A place below."""
        return Bucket(f"{self.url}/{name}", self.patience_s)

    def __str__(self) -> str:
        return self.url

    @property
    def impatient(self) -> Bucket:
        """The same place, for a first look: what does not answer within seconds is not there."""
        return Bucket(self.url, _CHECK_S)

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Bucket:
        """The place above."""
        return Bucket(self.url.rpartition("/")[0], self.patience_s)

    def put(self, key: str, data: bytes) -> None:
        """Write an object whole: when this returns it is durable, and before it is not there."""

        def write(files: Any, path: str) -> None:
            with files.open_output_stream(path) as stream:
                stream.write(data)

        self._try(write, key)

    def get(self, key: str) -> bytes:
        """An object.

        Raises:
            FileNotFoundError: There is none.
        """

        def read(files: Any, path: str) -> bytes:
            with files.open_input_stream(path) as stream:
                data: bytes = stream.read()
            return data

        return self._try(read, key)

    def get_json(self, key: str) -> Any:
        """An object that is a JSON document, and may be overwritten at any time.

        pyarrow asks for its size first, so that of one that grows meanwhile a part is read.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is no JSON document.
        """
        for _ in range(_READS):
            try:
                return json.loads(self.get(key))
            except ValueError as error:
                damaged = error
        raise damaged

    def get_all(self, keys: Iterable[str]) -> list[bytes]:
        """Several objects, a few at a time; as `get`."""
        return _each(self.get, keys)

    def has(self, key: str) -> bool:
        """Whether there is such an object."""

        def look(files: Any, path: str) -> bool:
            from pyarrow import fs

            return bool(files.get_file_info(path).type == fs.FileType.File)

        return self._try(look, key)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Every object below: bytes by key, in the order of the keys. Listed 1,000 at a time."""
        return {key: size for key, size, _ in self._below(prefix)}

    def changed(self, keys: Iterable[str]) -> dict[str, float]:
        """When objects were last written, by key, in seconds; those that are not there left out."""

        def look(files: Any, path: str) -> list[Any]:
            found: list[Any] = files.get_file_info([f"{path}{key}" for key in keys])
            return found

        infos = self._try(look, "")
        return {self._key(i.path): i.mtime.timestamp() for i in infos if i.mtime is not None}

    def folders(self) -> list[str]:
        """The names of the folders right below."""

        def look(files: Any, path: str) -> list[str]:
            from pyarrow import fs

            found = files.get_file_info(fs.FileSelector(path.rstrip("/"), allow_not_found=True))
            return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

        return self._try(look, "")

    def upload(self, files: Mapping[str, Path]) -> None:
        """Write files as objects, by key, a few at a time; a file larger than memory too."""

        def send(store: Any, path: str, file: Path) -> None:
            with file.open("rb") as source, store.open_output_stream(path) as stream:
                while chunk := source.read(_CHUNK):
                    stream.write(chunk)

        _each(lambda item: self._try(lambda s, p: send(s, p, item[1]), item[0]), files.items())

    def download(self, files: Mapping[str, Path]) -> None:
        """Write objects as files, by key, a few at a time; their folders are made.

        Raises:
            FileNotFoundError: There is no such object.
        """

        def fetch(store: Any, path: str, file: Path) -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with store.open_input_stream(path) as stream, file.open("wb") as target:
                while chunk := stream.read(_CHUNK):
                    target.write(chunk)

        _each(lambda item: self._try(lambda s, p: fetch(s, p, item[1]), item[0]), files.items())

    def copy(self, keys: Mapping[str, str]) -> None:
        """Copy objects within the store, by key; nothing passes through this machine."""

        def move(files: Any, path: str, key: str, target: str) -> None:
            files.copy_file(f"{path}{key}", f"{path}{target}")

        _each(lambda item: self._try(lambda s, p: move(s, p, *item), ""), keys.items())

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        self._delete(lambda files, path: files.delete_file(path), key)

    def delete_below(self, prefix: str) -> None:
        """Delete every object below, if there are any; many in one request."""
        self._delete(lambda files, path: files.delete_dir(path), prefix)

    def _delete(self, act: Callable[[Any, str], None], key: str) -> None:
        try:
            self._try(act, key)
        except FileNotFoundError:
            return

    def _below(self, prefix: str) -> list[tuple[str, int, Any]]:
        def look(files: Any, path: str) -> list[tuple[str, int, Any]]:
            from pyarrow import fs

            selector = fs.FileSelector(path.rstrip("/"), recursive=True, allow_not_found=True)
            found = [i for i in files.get_file_info(selector) if i.type == fs.FileType.File]
            return sorted((self._key(i.path), i.size, i.mtime) for i in found)

        return self._try(look, prefix)

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self._path}/")

    @property
    def _path(self) -> str:
        return self.url.partition("://")[2]

    def _try(self, act: Callable[[Any, str], T], key: str) -> T:
        """Carry out a request, again for a while where it fails for a moment."""
        last = time.monotonic() + self.patience_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return act(
                    _open(self.url.partition(":")[0], self.patience_s), f"{self._path}/{key}"
                )
            except FileNotFoundError:
                raise
            except OSError as error:
                if error.errno is not None:
                    raise  # of a local file
                if not _passes(str(error)) or time.monotonic() + pause > last:
                    raise BucketError(_explain(self, str(error))) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def check_bucket(url: str) -> None:
    """See that a place in an object store takes an object and gives it back; seconds at most.

    Raises:
        ConfigError: It is no such place.
        BucketError: It cannot be reached, or refuses.
    """
    parsed = Bucket.parse(url)
    place = parsed.impatient
    key, data = f".caviar-{uuid.uuid4().hex}", uuid.uuid4().bytes
    place.has(key)  # a store that is silent is found out sooner by a question than by a write
    place.put(key, data)
    back = place.get(key)
    place.delete(key)
    if back != data:
        raise BucketError(f"{url} gives back something else than was written: use another store")


def _each(act: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    given = list(items)
    if len(given) < 2:
        return [act(item) for item in given]
    with ThreadPoolExecutor(min(_AT_ONCE, len(given))) as pool:
        return list(pool.map(act, given))


@lru_cache
def _open(scheme: str, patience_s: float) -> Any:
    """The store; its own retries are off, or short: `Bucket` has its own, which end in time."""
    from pyarrow import fs

    if scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=patience_s))
    return fs.S3FileSystem(
        connect_timeout=_CONNECT_S,
        request_timeout=min(_SILENCE_S, patience_s),
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        background_writes=False,
        allow_delayed_open=True,  # a small object is one request, not three
        **_endpoint(),
    )


def _endpoint() -> dict[str, str]:
    """What pyarrow does not take from the environment by itself."""
    given: dict[str, str] = {}
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if url:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        given |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        given["region"] = region
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        given["tls_ca_file_path"] = bundle
    return given


# What went wrong

_PASSING = re.compile(
    r"NETWORK_CONNECTION|HTTP status 5\d\d|HTTP status 429|SLOW_DOWN|THROTTLING|INTERNAL_FAILURE"
    r"|SERVICE_UNAVAILABLE|REQUEST_TIMEOUT|REQUEST_EXPIRED|UNAVAILABLE|DEADLINE_EXCEEDED"
)
_CERTIFICATE = re.compile(r"curlCode: (35|58|60|77)\b")
_ABSENT = re.compile(r"NO_SUCH_BUCKET|bucket does not exist", re.IGNORECASE)
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|UNRECOGNIZED_CLIENT"
    r"|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN|INVALID_TOKEN|MISSING_AUTHENTICATION_TOKEN"
    r"|HTTP status 40[13]|PERMISSION_DENIED|UNAUTHENTICATED"
)


def _passes(text: str) -> bool:
    """Whether an error may be gone in a moment."""
    return bool(_PASSING.search(text)) and not _CERTIFICATE.search(text)


def _explain(place: Bucket, text: str) -> str:
    """What failed, and what to do, in a line."""
    bucket = place.url.partition("://")[2].partition("/")[0]
    if _CERTIFICATE.search(text):
        return f"{place}: the certificate of {_where()} is not trusted; set AWS_CA_BUNDLE"
    if _ABSENT.search(text):
        return f"{place}: there is no bucket {bucket!r} at {_where()}; make it, or correct the name"
    if _REFUSED.search(text):
        return f"{place}: {_refusal()}"
    if _passes(text):
        return (
            f"{place} cannot be reached at {_where()}; check the network, AWS_ENDPOINT_URL and "
            f"AWS_REGION, and run again to go on"
        )
    return f"{place} failed: {_masked(text.splitlines()[0])}"


def _where() -> str:
    endpoint = _endpoint()
    if "endpoint_override" in endpoint:  # a user name in it stays out
        return f"{endpoint['scheme']}://{endpoint['endpoint_override'].rpartition('@')[2]}"
    return endpoint.get("region", "its default endpoint")


def _refusal() -> str:
    names = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")
    roles = [name for name in os.environ if name.startswith("AWS_CONTAINER_CREDENTIALS")]
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    found = roles or any(os.environ.get(name) for name in names)
    if not found and not any(Path(file).expanduser().exists() for file in files):
        return (
            f"access is denied, and there are no credentials here: set AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY, or write them to {files[0]}"
        )
    return (
        "access is denied; the credentials must be valid, and allowed to list the bucket and to "
        "read, write and delete objects in it"
    )


def _masked(text: str) -> str:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    return text
