"""Unfinished trials: the loop that runs them, and recovery of those whose sweep died."""
