"""Modules: what owns parameters, the layers that DeepLab is made of, losses and the optimiser."""

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
    normalised,
)
from minideeplab.nn.losses import Loss, cross_entropy
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
    "bilinear",
    "cross_entropy",
    "he_normal",
    "normalised",
    "ones",
    "poly",
    "step_policy",
    "truncated_normal",
    "zeros",
]
