"""A plugin package for pocketnets: the architecture `crossing` and the data set `stripes`."""
