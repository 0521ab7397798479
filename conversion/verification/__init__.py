"""Compare a Core ML file with its model: weights, answers and properties."""
