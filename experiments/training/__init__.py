"""Training of one configuration: the loop, and the kernels, precision and data that it computes with."""
