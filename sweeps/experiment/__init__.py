"""A trial as a Hydra experiment file: one that its app composes to the very config it trained with.

    experiment = make_experiment(recorded, place_of(file, configs), title="trial 7 of mnist")
    write_whole(file, experiment.text)
    print(experiment.command(program))

Nothing is taken on trust: the file is composed by Hydra itself, over the app's own config folders,
and the command that is shown is the one that was composed.
"""

from sweeps.experiment.make import Experiment, make_experiment

__all__ = ["Experiment", "make_experiment"]
