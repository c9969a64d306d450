"""For tests of served models: a server that answers as a test asks it to."""

from collections.abc import Iterator

import pytest

from tests.fake_server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as found:
        yield found
