"""An installed cluster for the tests of this folder that do not need one of their own."""

from collections.abc import Iterator

import pytest
from demo_stage import Stage

from tests.e2e.docs import installed


@pytest.fixture(scope="session")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Simulated GPU nodes with vramshare installed. Leave it as you found it: use namespaces of your own."""
    with installed(tmp_path_factory.mktemp("shared")) as made:
        yield made
