"""The architectures that ship with the project, a file for each family."""
