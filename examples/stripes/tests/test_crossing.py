"""Run: python -m pytest, where pocketnets and this package are installed."""

from architectures.contract import check_architecture


def test_crossing_keeps_the_contract():
    check_architecture("crossing", input_shape=(12, 12, 1))
