"""Links to the training runs in MLflow's UI, which `make ui` prints before it serves them."""

from __future__ import annotations

from architectures.display import say
from experiments.tracking import Tracker, TrackingError


def say_links(tracking_uri: str, server: str) -> None:
    """Print a link for each experiment of training runs, as a server on this address shows them."""
    try:
        pages = Tracker(tracking_uri, create=False, write=False).runs_pages(server)
    except TrackingError as error:
        say(error)
        return
    for name, page in pages.items():
        say(f"{name}: {page}")
