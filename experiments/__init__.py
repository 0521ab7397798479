"""Data sets, training, evaluation and tracking of runs."""
