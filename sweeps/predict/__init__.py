"""Predictions for the rows of a file, by an exported model."""

from sweeps.predict.run import Predicted, predict_file

__all__ = ["Predicted", "predict_file"]
