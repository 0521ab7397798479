"""Find and repair disagreements between a study and MLflow."""
