"""Configurations that did well on two public data sets: a new study starts with them.

Learned by `benchmarks/portfolio.py learn`, which trained every combination of architecture, width (8, 16, 32), batch
size (64, 128) and dropout (0.1, 0.3) on 5,000 images of Fashion-MNIST and on scikit-learn's digits. Of each
architecture that came within two points of the best accuracy, this is the configuration with the best trade of accuracy
against time; the most promising comes first.
"""

from __future__ import annotations

from collections.abc import Mapping

CONFIGURATIONS: tuple[Mapping[str, object], ...] = (
    {"architecture": "pocket", "batch_size": 64, "dropout": 0.1, "filters": 32},
    {"architecture": "chollet", "batch_size": 128, "dropout": 0.1, "filters": 32},
    {"architecture": "allconv", "batch_size": 64, "dropout": 0.1, "filters": 32},
    {"architecture": "resnet", "batch_size": 64, "dropout": 0.1, "filters": 16},
)
