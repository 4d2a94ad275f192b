"""What is searched: Hydra's override grammar as parameters, conditions and constraints."""
