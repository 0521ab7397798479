"""A study's report: figures, paired tests between architectures, and the page that joins them."""
