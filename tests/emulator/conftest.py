# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client


@pytest.fixture
def client(ehpc_emulator: Emulator) -> Client:
    return Client(ehpc_emulator)
