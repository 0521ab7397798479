"""The drawing page: draw a digit in the browser, and the promoted Core ML file classifies it."""
