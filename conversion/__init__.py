"""Convert a trained run to a checked Core ML file."""
