"""An app whose trial 0 ends only when five others have, as they do where nothing waits for it."""

import time
from pathlib import Path

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> float:
    output = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    deadline = time.monotonic() + 30
    while cfg.n == 0 and len(list(output.parents[1].glob("*/*/done"))) < 5:
        assert time.monotonic() < deadline, "the others wait for this trial"
        time.sleep(0.01)
    (output / "done").touch()
    return float(cfg.n)


if __name__ == "__main__":
    main()
