"""A trial's config when it is trained again: as recorded, its references as they were given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sweeps.planning.relocate import Move
from sweeps.rerun.config import Recorded, hidden, make_config
from sweeps.secrets import masked_values

HERE = Move(old="", new="")
REFERENCE = "api_key=${oc.env:SERVICE_KEY}"


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorded]:
    """What lies beside a trial of an app with a key for a service, which was given by reference."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "config.yaml").write_text("lr: 0.1\napi_key: none\n")

    def record(*overrides: str) -> Recorded:
        monkeypatch.setenv("SERVICE_KEY", "abcdefgh")
        with initialize_config_dir(str(conf), version_base="1.3"):
            whole = compose("config", overrides=list(overrides), return_hydra_config=True)
        whole.hydra.job.num, whole.hydra.job.id = 0, "0"
        hydra = masked_values(OmegaConf.to_container(whole.hydra))
        plain = {"lr": whole.lr, "api_key": OmegaConf.to_container(whole)["api_key"]}
        monkeypatch.delenv("SERVICE_KEY")
        return Recorded(
            config=OmegaConf.create(masked_values(plain)), hydra=OmegaConf.create(hydra)
        )

    return record


def test_overrides_are_read_where_what_they_refer_to_is_not(record):
    recorded = record(REFERENCE, "lr=0.2")
    assert recorded.overrides == [REFERENCE, "lr=0.2"]
    assert hidden(recorded.overrides, []) == []


@pytest.mark.parametrize("key", [None, "abcdefgh"])
def test_a_reference_is_no_difference_between_the_record_and_todays_config(
    record, monkeypatch, key
):
    recorded = record(REFERENCE, "lr=0.2")
    if key is not None:
        monkeypatch.setenv("SERVICE_KEY", key)
    config, differs = make_config(recorded, recorded.search_path(HERE), [])
    assert differs == []
    plain = OmegaConf.to_container(config)
    assert plain["api_key"] == "${oc.env:SERVICE_KEY}"
    assert plain["hydra"]["overrides"]["task"] == [REFERENCE, "lr=0.2"]


def test_a_recorded_config_keeps_its_references(record, tmp_path):
    recorded = record(REFERENCE, "lr=0.2")
    (tmp_path / "conf" / "config.yaml").write_text("lr: 0.1\napi_key: none\nnew: 1\n")
    config, differs = make_config(recorded, recorded.search_path(HERE), ["lr=0.3"])
    assert differs == ["new"]
    plain = OmegaConf.to_container(config)
    assert (plain["api_key"], plain["lr"]) == ("${oc.env:SERVICE_KEY}", 0.3)
    assert plain["hydra"]["overrides"]["task"] == [REFERENCE, "lr=0.3"]
