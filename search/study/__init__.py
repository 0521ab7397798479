"""The Optuna study: its storage, the owners of its trials, and its results."""
