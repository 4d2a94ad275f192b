"""An app in which all kinds of things go wrong."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> Any:
    match cfg.kind:
        case "raises":
            raise RuntimeError("no such luck")
        case "leaks":
            raise RuntimeError(f"nobody gets in with {cfg.password}")
        case "text":
            return {"objective": "good"}
        case "imports":
            hydra.utils.instantiate({"_target_": "no_such_package.Net"})
        case "loses":
            return {"los": 1.0}
        case "dies" | "dies_once":
            return _train(_die if cfg.kind == "dies" else _die_once)
        case "flaky":
            return _train(_raise_twice)
        case "memory":
            return float(len(bytearray(1 << 60)))
        case "eats":
            _eat()
        case "hangs":
            time.sleep(600)
        case "slow":
            return _train(lambda epoch, output: time.sleep(0.4), epochs=1000)
        case "slows":
            return _train(lambda epoch, output: time.sleep(600 * (epoch > 1)))
    return 1.0


def _train(epoch_of: Callable[[int, Path], object], *, epochs: int = 3) -> float:
    """Train some epochs; each begins with a call of `epoch_of`."""
    output = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    checkpoint = sweeps.get_checkpoint()
    begun = int((checkpoint / "epoch").read_text()) if checkpoint else 0
    with (output / "segments.log").open("a") as file:
        file.write(f"{begun}\n")
    with (output / "pids.log").open("a") as file:
        file.write(f"{os.getpid()}\n")
    for epoch in range(begun + 1, epochs + 1):
        epoch_of(epoch, output)
        (output / "state").mkdir(exist_ok=True)
        (output / "state" / "epoch").write_text(str(epoch))
        with (output / "epochs.log").open("a") as file:
            file.write(f"{epoch}\n")
        sweeps.report({"objective": 1 / epoch}, step=epoch, checkpoint=output / "state")
    return 0.0


def _eat() -> None:
    """Take more and more memory, up to 8 GB."""
    eaten = []
    for _ in range(80):
        eaten.append(bytes(bytearray(100_000_000)))
        time.sleep(0.02)


def _die(epoch: int, output: Path) -> None:
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def _die_once(epoch: int, output: Path) -> None:
    died = output.parent / "died"  # it goes on in another folder
    if epoch == 2 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _raise_twice(epoch: int, output: Path) -> None:
    if epoch == 2 and len((output / "segments.log").read_text().split()) < 3:
        raise RuntimeError("no luck this time")


if __name__ == "__main__":
    main()
