"""Files that a command line names."""

from pathlib import Path

import pytest

from allocator.api.errors import VramshareError
from allocator.cli.given import read_given


def test_what_is_no_text_is_the_users_mistake(tmp_path: Path):
    """Not a fault of vramshare."""
    (tmp_path / "pod.yaml").write_bytes(b"kind: \xaa")
    with pytest.raises(VramshareError, match=r"pod\.yaml: no text in UTF-8: .* at byte 6"):
        read_given(str(tmp_path / "pod.yaml"))
