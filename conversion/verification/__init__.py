"""Whether a Core ML file is its model: weights, answers and properties, each compared."""
