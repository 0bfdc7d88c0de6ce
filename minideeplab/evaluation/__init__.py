"""How good is a network: predictions for images of any size, and the numbers that papers report."""

from minideeplab.evaluation.boundaries import boundary_f1, trimap
from minideeplab.evaluation.metrics import ConfusionMatrix, percent
from minideeplab.evaluation.predictor import Prediction, Predictor

__all__ = ["ConfusionMatrix", "Prediction", "Predictor", "boundary_f1", "percent", "trimap"]
