"""Where MLflow's pages of a store open on its training runs: what `make ui` says before it serves them."""

from __future__ import annotations

from architectures.display import say
from experiments.tracking import Tracker, TrackingError


def say_pages(tracking_uri: str, server: str) -> None:
    """Print a link for each experiment of training runs, as a server on this address shows them."""
    try:
        pages = Tracker(tracking_uri, create=False, write=False).runs_pages(server)
    except TrackingError as error:
        say(error)
        return
    for name, page in pages.items():
        say(f"{name}: {page}")
