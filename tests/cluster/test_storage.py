"""The probe of a storage from every node of a Ray."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from cluster.backends.ray_checks import check_storage
from cluster.errors import ClusterError
from cluster.storage import _try_here, probe
from cluster.survey import look
from sweeps.worker.messages import StorageMissingError
from sweeps.worker.trainable import _check_storage


@pytest.mark.ray
def test_a_storage_that_every_node_shares_is_fine_and_left_as_it_was(
    tmp_path: Path, ray_session: None
) -> None:
    (tmp_path / "kept").touch()

    (node,) = probe(tmp_path)
    assert node.error == ""
    assert socket.gethostname() in node.node
    assert node.free_bytes is not None
    assert node.free_bytes > 0
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_survey_writes_an_object_from_every_node_and_says_what_a_bucket_refuses(
    object_store: Any, bucket: str, ray_session: None
) -> None:
    place = f"{bucket}/sweeps"
    found = check_storage(place, look(place))
    assert (found.ok, found.what) == (True, f"{place} is written and read back on 1 nodes")

    object_store.fail(status=403, method="PUT")
    refused = check_storage(place, look(place))
    assert not refused.ok
    assert refused.what.startswith(f"{place} cannot be used on every node: ")
    assert "credentials" in refused.todo


def test_a_storage_that_the_driver_cannot_write_is_refused_before_any_node_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.nodes", lambda: [])
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match="file/sweeps cannot be written here: Not a directory"):
        probe(tmp_path / "file" / "sweeps")


def test_a_node_that_does_not_see_the_drivers_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.storage._SEEN_S", 0)
    found = _try_here(str(tmp_path / "elsewhere"), "n1")
    assert found["error"] == "what the driver wrote cannot be read there: No such file or directory"


def test_a_lane_on_a_node_without_the_sweeps_folder_says_where(tmp_path: Path) -> None:
    _check_storage(tmp_path)
    with pytest.raises(StorageMissingError, match=rf"gone is not there on {socket.gethostname()}"):
        _check_storage(tmp_path / "gone")
