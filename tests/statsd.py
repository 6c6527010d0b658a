# SPDX-License-Identifier: Apache-2.0
"""A server of StatsD's protocol that keeps what it is reported of this provider."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable


class StatsdServer:
    """Listens on loopback; a with-block long."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        """Metrics as they came, such as ``ehpc.requests,api=ehpc:1|c``; Airflow's own are left out."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes an Airflow send here, without tags."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1]),
        }

    def wait(self, condition: Callable[[list[str]], bool], timeout: float = 60.0) -> None:
        """Wait until what was reported is enough."""
        deadline = time.monotonic() + timeout
        while not condition(self.reported):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"after {timeout:g} s only this was reported: {sorted(set(self.reported))}"
                )
            time.sleep(0.1)

    def __enter__(self) -> StatsdServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while datagram := self._socket.recv(65536):
            for line in datagram.decode().splitlines():
                if line.startswith("airflow.ehpc."):
                    self.reported.append(line.removeprefix("airflow."))
