"""An app whose every step leaves a line in one file that all trials share: what was trained, where.

It trains slowly until the file `gate` is there. Its loss depends on all steps, by what checkpoints
carry: one that is left out, or trained twice upon itself, gives another loss.
"""

import json
import os
import time
from pathlib import Path

import hydra
import ray
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import sweeps


@hydra.main(version_base=None, config_path=None)
def main(cfg: DictConfig) -> None:
    checkpoint = sweeps.get_checkpoint()
    state = json.loads((checkpoint / "state.json").read_text()) if checkpoint else None
    begun, loss = (state["step"], state["loss"]) if state else (0, 1.0)
    for step in range(begun + 1, cfg.steps + 1):
        time.sleep(cfg.step_s if not Path(cfg.gate).exists() else 0.02)
        loss = 0.9 * loss + (cfg.x - 0.3) ** 2 / step
        note(cfg.audit, step=step, begun=begun)
        kept = None
        if step % cfg.get("every", 1) == 0:
            kept = Path(HydraConfig.get().runtime.output_dir) / "state"
            kept.mkdir(exist_ok=True)
            (kept / "state.json").write_text(json.dumps({"step": step, "loss": loss}))
            (kept / "ballast").write_bytes(os.urandom(cfg.get("ballast", 0)))
        sweeps.report({"loss": loss}, step=step, checkpoint=kept)


def note(audit: str, **fields: object) -> None:
    """Append a line: one write of a file opened to append is whole, whoever else writes."""
    line = {
        "trial": HydraConfig.get().job.num,
        "node": ray.util.get_node_ip_address(),
        "pid": os.getpid(),
        "time": time.time(),
        **fields,
    }
    descriptor = os.open(audit, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{json.dumps(line)}\n".encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
