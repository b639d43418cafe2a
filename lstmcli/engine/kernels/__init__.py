"""Kernels for the CPU from functions of PyTorch: what a cell computes at one step, in one pass over memory.

The function is run once on small tensors and what it does is recorded (`trace`), written as C++ with one loop
over the rows (`source`), and built by the machine's compiler or found built (`native`). `compiled` is the
door: it knows what to do where one of these cannot.
"""
