"""A worker process of the local engine: trains what comes through its pipe."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

from search.engines.messages import WorkerSetup, failed


def main(connection: Connection, setup: WorkerSetup) -> None:
    """Receive the data set's folder, then serve jobs until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the sweep decides
    # TensorFlow's C++ writes to stderr before it reads its log level, and coremltools prints: stdout is the sweep's.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        if setup.cores:
            os.sched_setaffinity(0, setup.cores)  # before TensorFlow starts its threads
        from search.engines.serving import serve

        serve(connection, setup)
    except (EOFError, ConnectionError):
        pass  # the sweep is gone
    except BaseException as error:
        connection.send(failed(None, error))
