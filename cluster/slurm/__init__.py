"""Slurm: what is submitted, and what runs in the jobs.

The backend (`cluster.backends.slurm`) writes a folder for each submission, on a file system that
every node shares, and submits `driver.sh`. In that job `driver` starts a Ray head, runs the sweep
beside it, and brings in Ray nodes: `worker` runs on each, in a job or a step of its own.
"""
