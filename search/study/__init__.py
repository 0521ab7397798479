"""An Optuna study that survives: its storage, the owners of its trials, and their results."""
