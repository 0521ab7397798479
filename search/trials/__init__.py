"""Trials on their way: the loop that runs them, and the recovery of those whose sweep died."""
