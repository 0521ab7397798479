"""Hyperparameter search over registered architectures."""
