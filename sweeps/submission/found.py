"""What was submitted, found again by what a user calls it: its job, and its sweep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.backend import Backend, State
from cluster.bucket import is_url
from cluster.errors import ClusterError
from cluster.handle import SCHEMES, Handle
from cluster.ledger import Entry, Ledger
from cluster.profile import load_profile, make_backend, profile_files
from cluster.project import find_root
from sweeps.errors import ConfigError, did_you_mean, nearest
from sweeps.storage.folder import SweepFolder, find_sweep

_SHOWN = 5
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, and the backend that knows it."""

    handle: Handle
    backend: Backend
    entry: Entry | None = None
    """What the ledger says of it; None where it was submitted elsewhere."""


def find_job(text: str, *, cluster: str | None = None, insecure: bool = False) -> Job:
    """The job of a handle, of a name in the ledger, or of the start of one.

    Args:
        text: What a user calls it.
        cluster: The profile, for a handle that the ledger does not know.
        insecure: Whether a cluster without token authentication is taken.

    Raises:
        ConfigError: There is none, or several; or nothing says whose a handle is.
    """
    entry = Ledger().find(text)
    if entry is not None:
        return job_of(_meant(entry, text, insecure=insecure), insecure=insecure)
    if "://" not in text:
        raise ConfigError(_unknown(text))
    handle, root = Handle.parse(text), find_root(Path.cwd())
    if cluster is None:
        cluster = _cluster_of(handle, root)
    profile = load_profile(cluster, root, insecure=insecure)
    return Job(handle=handle, backend=make_backend(profile))


def _cluster_of(handle: Handle, root: Path) -> str:
    """The profile named as its backend, if the handle's place is the one that it would ask.

    Raises:
        ConfigError: It would ask another, where a job may have the same name.
    """
    reaching = []
    for name in profile_files(root):
        with suppress(ConfigError):
            profile = load_profile(name, root)
            if profile.backend == handle.backend and make_backend(profile).reaches(handle):
                reaching.append(name)
    if handle.backend in reaching:
        return handle.backend
    which = f", such as --cluster {reaching[0]}" if reaching else ""
    raise ConfigError(
        f"{handle} is in no list of this machine, and which cluster has it is not known: say so "
        f"with --cluster NAME{which}"
    )


def _meant(entry: Entry, text: str, *, insecure: bool) -> Entry:
    """Of a sweep's name the submission that lives, of a handle or an id its own."""
    if text == entry.id or not entry.name.startswith(text):
        return entry
    several = Ledger().of_sweep(entry.name, entry.storage)
    living = find_living(several, insecure=insecure) if len(several) > 1 else None
    return living[0] if living else entry


def find_living(entries: list[Entry], *, insecure: bool = False) -> tuple[Entry, State] | None:
    """The one that runs, or else waits, the latest of several; whom nobody can ask is over.

    Args:
        entries: Oldest first; their clusters are asked at once.
        insecure: Whether a cluster without token authentication is taken.
    """

    def state(entry: Entry) -> State:
        try:
            job = job_of(entry, insecure=insecure)
            return job.backend.status(job.handle).state
        except (ClusterError, ConfigError):
            return State.UNKNOWN

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        states = list(zip(entries, pool.map(state, entries), strict=True))
    for wanted in (State.RUNNING, State.PENDING):
        for entry, found in reversed(states):
            if found is wanted:
                return entry, found
    return None


def job_of(entry: Entry, *, insecure: bool = False) -> Job:
    """The job of an entry of the ledger."""
    insecure = insecure or entry.insecure
    profile = load_profile(entry.cluster, Path(entry.root), insecure=insecure)
    return Job(handle=Handle.parse(entry.handle), backend=make_backend(profile), entry=entry)


def sweep_of(entry: Entry) -> SweepFolder:
    """An entry's sweep.

    Raises:
        ConfigError: It has not begun, or its storage cannot be read from here.
    """
    try:
        return find_sweep(f"{entry.storage}/{entry.name}")
    except ConfigError as error:
        raise ConfigError(
            f"the sweep {entry.name} is not in {entry.storage} as seen from here: it has not "
            f"begun, or this machine does not have that storage"
        ) from error


def find_any_sweep(text: str) -> SweepFolder:
    """The sweep of that folder, of that name under the storage path, or of that submission.

    Raises:
        ConfigError: There is none; the nearest are listed.
    """
    found = find_sweep_or_entry(text)
    return sweep_of(found) if isinstance(found, Entry) else found


def find_sweep_or_entry(text: str) -> SweepFolder | Entry:
    """The sweep of that folder, or of that name under the storage path; else a submission.

    A name of a sweep that was submitted is its submission.

    Raises:
        ConfigError: There is none; the nearest are listed.
    """
    ledger = Ledger()
    if text.partition("://")[0] in SCHEMES:
        if (entry := ledger.find(text)) is None:
            raise ConfigError(_unknown(text))
        return entry
    try:
        folder = find_sweep(text)
    except ConfigError as error:
        if (entry := ledger.find(text)) is not None:
            return entry
        near = nearest(text, ledger.named())
        among = f"; among what was submitted: {', '.join(near)} (caviar list)" if near else ""
        raise ConfigError(f"{error}{among}") from error
    submitted = [e for e in ledger.read()[0] if e.name == text and _is_at(e, folder)]
    return submitted[-1] if submitted else folder


def _is_at(entry: Entry, folder: SweepFolder) -> bool:
    if is_url(entry.storage):
        return False
    return Path(entry.storage, entry.name).resolve() == folder.path


def _unknown(text: str) -> str:
    known = list(Ledger().named())
    names = [entry.name for entry in Ledger().read()[0]][-_SHOWN:]
    there = f"the latest are {', '.join(dict.fromkeys(names))}" if names else "there is none yet"
    return f"no submission {text!r}: {there} (caviar list){did_you_mean(text, known)}"
