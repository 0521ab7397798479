"""Evaluate a model's probabilities on a split, in figures and pictures."""
