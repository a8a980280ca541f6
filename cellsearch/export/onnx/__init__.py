"""ONNX: a layer, one step of it, or the whole model as a graph that other runtimes run."""

from cellsearch.export.onnx.write import to_onnx

__all__ = ["to_onnx"]
