"""Finding and mending disagreement between a study and MLflow."""
