"""The address of an MLflow store's pages."""

from __future__ import annotations

import re

LOCAL_PAGES = "http://127.0.0.1:5000"  # where `make ui` and `mlflow ui` show a database


def pages_of(tracking_uri: str | None) -> str:
    """Return the address of a store's pages: its server, without the login, or for a database this machine's server.

    >>> pages_of("http://ann:s3/cret@mlflow.example/"), pages_of("sqlite:///mlflow.db")
    ('http://mlflow.example', 'http://127.0.0.1:5000')
    """
    server = tracking_uri if tracking_uri and re.match("https?://", tracking_uri) else LOCAL_PAGES
    return re.sub(r"(?<=://)\S*@|[?#].*", "", server).rstrip("/")  # browsers ask for the login
