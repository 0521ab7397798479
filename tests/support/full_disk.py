"""A sweep whose disk is full once a database has grown: python -m tests.support.full_disk DATABASE PAGES ...

SQLite then says what it says of a full disk. What follows are the options of search.sweep, whose workers train nothing.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from sqlalchemy import Engine, event

from search import sweep
from search.engines import local
from tests.support.untrained import idle_worker


def limit(database: str, pages: int) -> None:
    """Let the SQLite file of that name grow by so many pages from its first connection on."""
    most: list[int] = []

    def connected(connection: sqlite3.Connection, _: object) -> None:
        _, _, file = connection.execute("PRAGMA database_list").fetchone()
        if Path(file) == Path.cwd() / database:  # not where it is made, beside
            most.append(connection.execute("PRAGMA page_count").fetchone()[0] + pages)
            connection.execute(f"PRAGMA max_page_count = {most[0]}")

    event.listen(Engine, "connect", connected)


def main(arguments: list[str]) -> int:
    database, pages, *options = arguments
    limit(database, int(pages))
    local.Worker = idle_worker()  # type: ignore[assignment, misc]
    return sweep.main(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
