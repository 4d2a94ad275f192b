"""From a command line to a submission: composed and checked here, before anything is sent."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster.backend import Ask, Code, Submission
from cluster.bucket import Bucket, is_url
from cluster.ledger import Entry, Ledger
from cluster.profile import Profile, load_profile
from cluster.project import find_root, import_paths
from sweeps.errors import ConfigError
from sweeps.planning.launch import BUNDLED, CHECKOUT, HydraArguments, Program, run, split_program
from sweeps.planning.plan import Plan, check_resumable
from sweeps.provenance.code import code_note
from sweeps.secrets import is_masked, is_secret, masked
from sweeps.space.literals import literal
from sweeps.storage.folder import SweepFolder

_NAME = "hydra.sweeper.name"
_RESUME = "hydra.sweeper.resume"
_STORAGE = "hydra.sweeper.storage_path"
_NOWHERE = f"{_STORAGE}=/"
"""Composing writes nothing."""

_BARE = re.compile(r"(/|s3://)[\w./-]*", re.ASCII)
_CONFIG_DIRS = ("--config-dir", "-cd")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A submission and where it goes."""

    profile: Profile
    submission: Submission

    def entry(self, handle: Any) -> Entry:
        """What the ledger keeps of it."""
        submission = self.submission
        return Entry(
            handle=str(handle),
            name=submission.name,
            cluster=self.profile.name,
            storage=submission.storage,
            arguments=tuple(masked(word) for word in submission.arguments),
            root=str(submission.code.root),
            cwd=os.getcwd(),
            insecure=self.profile.insecure,
        )


def prepare(
    arguments: list[str], *, cluster: str, insecure: bool = False, preview: bool = False
) -> Prepared:
    """What `caviar submit` sends.

    Args:
        arguments: The app, where one is named, and its command line.
        cluster: The profile's name.
        insecure: Whether a cluster without token authentication is taken.
        preview: Whether it is only to be shown; no bucket is reached for then.

    Raises:
        ConfigError: Something is wrong. Nothing was sent or written.
        SystemExit: Hydra could not compose it, and has said so; or the app ended.
    """
    program, rest = split_program(arguments)
    start = Path(program.file or ".").absolute()
    profile = load_profile(cluster, find_root(start), insecure=insecure)
    root = find_root(start, profile.code.root)
    given = HydraArguments.parse(rest)
    _refuse_flags(given)
    program, given = _from_root(program, root), _config_dirs_from(root, given)
    return _prepare(program, given, profile, root, preview=preview)


def prepare_again(
    entry: Entry, more: list[str], *, insecure: bool = False, preview: bool = False
) -> Prepared:
    """What was sent once, to be sent again; further overrides extend the sweep.

    Raises:
        ConfigError: As for `prepare`; or a secret has to be given again.
    """
    root = Path(entry.root)
    if not root.is_dir():
        raise ConfigError(f"it was submitted from {root}, which is not there any more")
    with _standing_in(root, ()):
        program, rest = split_program(entry.arguments[1:])
    given = HydraArguments.parse(rest).plus(*HydraArguments.parse(more).overrides)
    if hidden := [o.partition("=")[0] for o in given.overrides if is_masked(o)]:
        raise ConfigError(
            f"{', '.join(hidden)}: no secret was kept of it, so give it again, such as "
            f"{hidden[0]}='${{oc.env:NAME}}'"
        )
    insecure = insecure or entry.insecure
    profile = load_profile(entry.cluster, root, insecure=insecure)
    return _prepare(program, given, profile, root, preview=preview)


def check_profile(profile: Profile) -> None:
    """Refuse a profile with which nothing could be submitted as it stands.

    Raises:
        ConfigError: A secret in its environment, or a storage that nodes do not share.
    """
    _refuse_secret_env(profile)
    if profile.common.storage is not None:
        _storage(HydraArguments.parse([]), profile)


def _prepare(
    program: Program, given: HydraArguments, profile: Profile, root: Path, *, preview: bool
) -> Prepared:
    _refuse_secrets(given, profile)
    if program == BUNDLED and not profile.is_this_machine and root != CHECKOUT:
        raise ConfigError(
            f"caviar's own app is sent from its checkout, {CHECKOUT}: submit from there, or name "
            f"an app, a file or -m module"
        )
    storage = _storage(given, profile)
    placed = given if storage is None else given.plus(f"{_STORAGE}={_word(storage)}")
    paths = import_paths(root)
    reaches = True
    if storage is not None and is_url(storage):
        Bucket.parse(storage)
        reaches = _asks_for_a_sweep(given) and not preview
    with _standing_in(root, paths):
        plan = _plan(program, placed if reaches else given.plus(_NOWHERE))
        storage = storage or str(plan.settings.storage_path)
        name = plan.settings.name or f"{plan.title}-{_user()}-{datetime.now():%Y%m%d-%H%M%S}"
        _check_name(plan, name, storage, goes_on=_goes_on(given), reaches=reaches)
    where = (f"{_NAME}={_word(name)}", f"{_STORAGE}={_word(storage)}", f"{_RESUME}=auto")
    options = profile.code
    travels = not profile.is_this_machine and options.travels == "package"
    code = Code(
        root=root,
        import_paths=paths,
        excludes=tuple(options.excludes),
        travels=travels,
        notes=code_note(plan.app.folder) if travels else {},
    )
    submission = Submission(
        name=name,
        arguments=("sweep", *program.argv(), *placed.plus(*where).argv()),
        code=code,
        storage=storage,
        ask=_ask(plan.settings.resources, plan.settings.max_concurrent_trials),
        env={name: str(value) for name, value in profile.common.env.items()},
    )
    return Prepared(profile=profile, submission=submission)


# The command line


def _refuse_flags(given: HydraArguments) -> None:
    if given.asks_for_more_than_a_run:
        raise ConfigError(
            f"{' '.join(given.options)}: submit takes no flags that show something; "
            f"`caviar sweep` does"
        )
    if any(o.startswith("hydra.sweeper.dry_run=") for o in given.overrides):
        raise ConfigError(
            "hydra.sweeper.dry_run is of `caviar sweep`; `caviar submit --dry-run` shows what "
            "would be sent"
        )
    for override in given.overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+~") == "hydra/sweeper" and value != "ray_tune":
            raise ConfigError(f"{override}: what is submitted is a sweep by caviar; leave it out")


def _refuse_secrets(given: HydraArguments, profile: Profile) -> None:
    for override in given.overrides:
        if masked(override) != override:
            key = override.partition("=")[0]
            variable = re.sub(r"\W+", "_", key.strip("+~")).upper()
            raise ConfigError(
                f"{masked(override)}: a cluster shows what it is sent, so no secret goes there. "
                f"Name a variable of the environment that the job has, {key}="
                f"'${{oc.env:{variable}}}', and set it on the cluster's side"
            )
    _refuse_secret_env(profile)


def _refuse_secret_env(profile: Profile) -> None:
    for name, value in profile.common.env.items():
        if is_secret(str(name), value):
            raise ConfigError(
                f"cluster {profile.name}.env.{name}: a cluster shows the environment that it is "
                f"sent, so no secret goes there. Set it on the cluster's side"
            )


def _from_root(program: Program, root: Path) -> Program:
    """The app as it is called from the project's root."""
    if program.file is None:
        return program
    file = Path(program.file).absolute()
    if not file.is_relative_to(root):
        raise ConfigError(f"{file} lies outside of the project's root, {root}: see code.root")
    return Program(file=file.relative_to(root).as_posix())


def _config_dirs_from(root: Path, given: HydraArguments) -> HydraArguments:
    """Config folders as they are called from the project's root."""

    def moved(word: str) -> str:
        return Path(os.path.relpath(word, root)).as_posix()

    words: list[str] = []
    for word in given.options:
        flag, equals, value = word.partition("=")
        if equals and flag in _CONFIG_DIRS:
            words.append(f"{flag}={moved(value)}")
        else:
            words.append(moved(word) if words and words[-1] in _CONFIG_DIRS else word)
    return HydraArguments(options=tuple(words), overrides=given.overrides).without_multirun()


def _word(value: str) -> str:
    """An override's value, quoted where Hydra needs it."""
    return value if _BARE.fullmatch(value) else literal(value)


def _goes_on(given: HydraArguments) -> bool:
    """Whether a sweep that is there is meant."""
    said = given.value(_RESUME)
    return said is not None and said.lower() != "false"


# Where it is kept, and its name


def _storage(given: HydraArguments, profile: Profile) -> str | None:
    """What the command line says, or the profile; on this machine the config may say it.

    Raises:
        ConfigError: On a cluster it is not said, or is relative.
    """
    said = given.value(_STORAGE)
    storage = said.strip("'\"") if said else profile.common.storage
    if profile.is_this_machine:
        return storage
    key = _STORAGE if said else f"cluster {profile.name}.storage"
    rule = "an absolute path that every node shares, or s3://bucket/folder"
    if storage is None:
        raise ConfigError(
            f"{key} is not set, and a sweep on a cluster is kept where every node reaches it: set "
            f"it, or {_STORAGE}, to {rule}"
        )
    if "://" not in storage and not Path(storage).is_absolute():
        raise ConfigError(
            f"{key} is {storage!r}, which every node takes for a folder of its own; it must be "
            f"{rule}"
        )
    return storage


def _asks_for_a_sweep(given: HydraArguments) -> bool:
    """Whether a bucket is needed for composing, which may be reached from the cluster alone.

    A name that is made here is free; one that is given may be taken.
    """
    return given.value(_NAME) is not None or _goes_on(given)


def _check_name(plan: Plan, name: str, storage: str, *, goes_on: bool, reaches: bool) -> None:
    """See that the name is free, or that the sweep which has it can go on as is asked.

    Raises:
        ConfigError: It is not so.
    """
    if plan.settings.name is None:
        return
    there = reaches and _folder(plan, name, storage).sweep_yaml.exists()
    if there and goes_on:
        check_resumable(plan)
    before = Ledger().of_sweep(name, storage)
    if (there or before) and not goes_on:
        known = before[-1].id if before else name
        raise ConfigError(
            f"{_NAME} is {name!r}, and there is a sweep of that name in {storage}: choose another, "
            f"or go on with it (caviar resume {known}, or {_RESUME}=auto)"
        )


def _folder(plan: Plan, name: str, storage: str) -> SweepFolder:
    return SweepFolder.at(Bucket.parse(storage), name) if is_url(storage) else plan.folder


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    return re.sub(r"\W+", "_", user)


# Composed here


def _plan(program: Program, given: HydraArguments) -> Plan:
    from sweeps.driver.runner import planning

    on = (f"{_RESUME}=auto",) if _goes_on(given) else ()
    with planning() as plans:
        run(program, given.plus(*on).as_sweep())
    if not plans:
        raise ConfigError(
            f"{' '.join(program.argv())} did not begin a sweep: what is submitted is an app with "
            f"@hydra.main, which it calls when it is run"
        )
    return plans[0]


@contextlib.contextmanager
def _standing_in(root: Path, paths: tuple[str, ...]) -> Iterator[None]:
    """Be where the command will be: in the project's root, with its import paths."""
    cwd, before = os.getcwd(), list(sys.path)
    os.chdir(root)
    sys.path[1:1] = [str(root / path) for path in paths]
    try:
        yield
    finally:
        os.chdir(cwd)
        sys.path[:] = before


def _ask(resources: str | Mapping[str, float], at_once: int | None) -> Ask:
    said = {} if isinstance(resources, str) else resources
    return Ask(
        workers=int(said.get("workers", 1)),
        cpus=said.get("cpus"),
        gpus=said.get("gpus"),
        at_once=at_once,
    )
