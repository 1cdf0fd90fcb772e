"""What every test may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the whole test suite."""
    parser.addoption(
        "--data",
        type=Path,
        default=None,
        help="folder with kube-apiserver-1.36/, openb/ and cuda-symbols/ recordings; tests that want it skip without",
    )
    parser.addoption("--fuzz", type=int, default=2000, help="how many broken reviews tests/fuzz posts")
    parser.addoption("--fuzz-from", type=int, default=0, help="number of the first of them")


@pytest.fixture(scope="session")
def shared_data(request: pytest.FixtureRequest) -> Path:
    """The folder of recordings given by --data."""
    folder: Path | None = request.config.getoption("--data")
    if folder is None:
        pytest.skip("needs recordings: run pytest with --data FOLDER")
    return folder.resolve()


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What a test configured of logging is not the next one's."""
    yield
    structlog.reset_defaults()
