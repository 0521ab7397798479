"""What a model's probabilities on a split say, in figures and pictures."""
