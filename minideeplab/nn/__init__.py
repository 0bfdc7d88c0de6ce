"""Modules: what owns parameters, the layers that DeepLab is made of, losses, the optimiser and averages of weights."""

from minideeplab.nn.average import WeightAverage
from minideeplab.nn.initialisers import bilinear, he_normal, ones, truncated_normal, zeros
from minideeplab.nn.layers import (
    AveragePool2d,
    BatchNorm2d,
    Conv2d,
    ConvNorm,
    ConvTranspose2d,
    DepthwiseConv2d,
    Dropout,
    MaxPool2d,
    SeparableConv2d,
    SqueezeExcitation,
    freeze_batch_norm,
    normalised,
    share_batch,
)
from minideeplab.nn.losses import Loss, cross_entropy, hard_pixels
from minideeplab.nn.module import Buffer, Module, Parameter, Sequential
from minideeplab.nn.optim import SGD, poly, step_policy

__all__ = [
    "SGD",
    "AveragePool2d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "ConvNorm",
    "ConvTranspose2d",
    "DepthwiseConv2d",
    "Dropout",
    "Loss",
    "MaxPool2d",
    "Module",
    "Parameter",
    "SeparableConv2d",
    "Sequential",
    "SqueezeExcitation",
    "WeightAverage",
    "bilinear",
    "cross_entropy",
    "freeze_batch_norm",
    "hard_pixels",
    "he_normal",
    "normalised",
    "ones",
    "poly",
    "share_batch",
    "step_policy",
    "truncated_normal",
    "zeros",
]
