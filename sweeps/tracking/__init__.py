"""A sweep in TensorBoard, MLflow and Weights & Biases: `hydra.sweeper.tracking`.

Each tracker has a process of its own beside the driver, which follows the sweep's events and brings
the tracker to where the journal stands. So none is imported where it is not asked for, and one that
is slow, offline or broken holds no decision up; what it missed it is sent later, or on a resume.

    feeds       the driver's side: events go to each tracker's process
    __main__    that process: reads events, and lets the follower show them
    follower    brings a tracker up to the sweep, trial by trial, as often as it takes
    runs        what there is to show of each trial: events as points of a run
    ledger      what a tracker has been sent, for the next driver
    tracker     what a tracker does; to_tensorboard, to_mlflow, to_wandb do it

The options are in `sweeps.core.tracking`, since they are settings.
"""
