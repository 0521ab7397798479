"""Compare a Core ML file with its model: weights, predictions and properties."""
