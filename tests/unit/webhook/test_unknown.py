"""Annotations that mean nothing."""

import pytest

from tests.unit.webhook.support import admit, container, pod


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("vramshare.io/memroy", "annotation vramshare.io/memroy means nothing; did you mean vramshare.io/memory?"),
        (
            "memroy.vramshare.io/main",
            "annotation memroy.vramshare.io/main means nothing; did you mean memory.vramshare.io/<container>?",
        ),
        ("vramshare.io/inject", "annotation vramshare.io/inject means nothing; it is a label of pods and namespaces"),
        ("vramshare.io/zzz", "annotation vramshare.io/zzz means nothing; it is passed over"),
    ],
)
async def test_a_slip_of_the_pen_is_told(key: str, told: str) -> None:
    """Else a pod whose request is misspelt runs without a GPU, and nothing says why."""
    got = await admit(pod({key: "2Gi"}, container()))
    assert got.answer.warnings == (told,)


async def test_what_has_a_meaning_is_not_told() -> None:
    """Neither requests nor annotations of others."""
    asked = {"vramshare.io/memory": "2Gi", "memory.vramshare.io/main": "1Gi", "other.io/memroy": "1"}
    assert (await admit(pod(asked, container()))).answer.warnings == ()


async def test_a_warning_stays_short() -> None:
    """Users of kubectl are to see it whole."""
    got = await admit(pod({"memroy.vramshare.io/" + "x" * 63: "2Gi"}, container()))
    assert len(got.answer.warnings[0]) <= 120
