"""Where the pages of an MLflow store are."""

from __future__ import annotations

import re

LOCAL_PAGES = "http://127.0.0.1:5000"  # where `make ui` and `mlflow ui` show a database


def pages_of(tracking_uri: str | None) -> str:
    """Where a store's pages are: on its server, without the login, or on this machine's for a database.

    >>> pages_of("http://ann:s3/cret@mlflow.example/"), pages_of("sqlite:///mlflow.db")
    ('http://mlflow.example', 'http://127.0.0.1:5000')
    """
    server = tracking_uri if tracking_uri and re.match("https?://", tracking_uri) else LOCAL_PAGES
    return re.sub(r"(?<=://)\S*@|[?#].*", "", server).rstrip("/")  # the browser asks for the login
