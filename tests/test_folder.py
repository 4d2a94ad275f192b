"""The names in a sweep's folder."""

from __future__ import annotations

from pathlib import Path

from sweeps.storage.folder import OUTPUT, SweepFolder


def test_what_a_trial_printed_is_listed_oldest_first_whatever_it_went_through(
    tmp_path: Path,
) -> None:
    folder = SweepFolder(tmp_path)
    jobs = [
        folder.job(3, 1),
        folder.job(3, 1, life=1),
        folder.job(3, 1, life=10),
        folder.job(3, 1, exploits=1),
        folder.job(3, 1, exploits=1, life=2),
        folder.job(3, 2),
        folder.job(3, 10, rung=0),
        folder.job(3, 10, rung=1),
        folder.job(3, 10, rung=1, life=1),
    ]
    for job in reversed(jobs):
        job.mkdir(parents=True)
        (job / OUTPUT).write_text("")

    assert folder.outputs(3) == [job / OUTPUT for job in jobs]
    assert folder.outputs(4) == []
