"""The command line: `caviar VERB ...`. Answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata

from cluster.errors import ClusterError
from sweeps.commands.apps import RESUME, SWEEP, TRAIN
from sweeps.commands.doctor import DOCTOR
from sweeps.commands.export import EXPORT
from sweeps.commands.jobs import LIST, LOGS, STATUS, STOP
from sweeps.commands.predict import PREDICT
from sweeps.commands.report import REPORT
from sweeps.commands.reproduce import REPRODUCE
from sweeps.commands.results import RESULTS
from sweeps.commands.retest import RETEST
from sweeps.commands.steer import ENQUEUE, EXTEND
from sweeps.commands.submit import SUBMIT
from sweeps.commands.ui import UI
from sweeps.commands.verb import Verb, say
from sweeps.errors import ConfigError, SweepError, did_you_mean, exit_code

_VERBS: dict[str, Verb] = {
    "train": TRAIN,
    "sweep": SWEEP,
    "resume": RESUME,
    "results": RESULTS,
    "report": REPORT,
    "ui": UI,
    "export": EXPORT,
    "predict": PREDICT,
    "retest": RETEST,
    "reproduce": REPRODUCE,
    "submit": SUBMIT,
    "list": LIST,
    "status": STATUS,
    "logs": LOGS,
    "stop": STOP,
    "enqueue": ENQUEUE,
    "extend": EXTEND,
    "doctor": DOCTOR,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    An app's own `SystemExit` passes through.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except (ConfigError, SweepError, ClusterError) as error:
        say(str(error))
        return exit_code(error)
    except KeyboardInterrupt as error:
        return exit_code(error)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    name, *rest = given
    if name == "--version":
        sys.stdout.write(f"caviar {metadata.version('caviar')}\n")
        return 0
    if name not in _VERBS:
        raise ConfigError(
            f"caviar has no command {name!r}; it has {', '.join(_VERBS)}"
            f"{did_you_mean(name, _VERBS)}"
        )
    verb = _VERBS[name]
    return verb.run(verb.parser(name), rest)


def _overview() -> str:
    commands = "\n".join(f"  {name:<9} {verb.summary}" for name, verb in _VERBS.items())
    return f"""\
caviar sweeps hyperparameters of any Hydra app, and hands back the best model.

usage: caviar COMMAND ...

commands:
{commands}

`caviar COMMAND --help` says more, with examples. An app is a file, or -m and a module; without one,
train, sweep and submit take caviar's own. Exit codes: 0 done, 1 failed, 2 wrong usage, 130
interrupted.
"""


if __name__ == "__main__":
    sys.exit(main())
