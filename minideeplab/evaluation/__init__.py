"""How good is a network: predictions for images of any size, and the numbers that papers report."""

from minideeplab.evaluation.metrics import ConfusionMatrix, percent, trimap
from minideeplab.evaluation.predictor import Prediction, Predictor

__all__ = ["ConfusionMatrix", "Prediction", "Predictor", "percent", "trimap"]
