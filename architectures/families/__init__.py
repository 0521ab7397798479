"""The project's own architectures, one file per family."""
