"""Trained networks for other programs: ONNX, a page that runs one in a browser, weights as torchvision stores them."""

from minideeplab.export.formats import write_weights
from minideeplab.export.onnx_file import OnnxFile, difference_in_onnxruntime, onnx_file
from minideeplab.export.tape import NotExportedError

__all__ = ["NotExportedError", "OnnxFile", "difference_in_onnxruntime", "onnx_file", "write_weights"]
