"""What the configs may compute."""

from omegaconf import OmegaConf


def register_resolvers() -> None:
    OmegaConf.register_new_resolver("divide", lambda a, b: a // b, replace=True)
