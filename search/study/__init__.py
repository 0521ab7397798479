"""An Optuna study that survives: its storage, who owns which trial, and what its trials have come to."""
