"""Drawing the fleet: bars in a terminal, and the SVG file."""

from random import Random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_fleet import ShownFleet, trouble

from allocator.cli.bars import bar, shares, spaces
from allocator.cli.map import having, lines
from allocator.cli.svg import draw
from allocator.core.picture import NodePicture, picture

EVIL = "<script>&'\"\x1b[31m"


@pytest.fixture
def nodes() -> tuple[NodePicture, ...]:
    """Two nodes of two GPUs, with troubles and a hostile name."""
    shown = ShownFleet(Random(1))
    shown.add_node("n1", gpus=2)
    shown.add_node("n2", gpus=2, model="NVIDIA L40S", gib=48)
    shown.hold("n1", gpu=1, gib=4, cores=25, space="team-a", pod="first")
    shown.hold("n1", gpu=1, gib=2, space="team-b", pod="second")
    shown.hold("n2", gpu=0, gib=20, space="team-b", pod=EVIL)
    trouble(shown)
    return picture(shown.fleet, ()).nodes


def drawn(nodes: tuple[NodePicture, ...], width: int = 80) -> str:
    """The map as plain text."""
    return "\n".join(line.plain for line in lines(nodes, spaces(nodes), waiting=1, width=width))


def test_each_gpu_has_a_bar_with_its_slices_and_figures(nodes: tuple[NodePicture, ...]) -> None:
    """A letter per namespace, most memory first; others' memory, what is free, percent, time."""
    text = drawn(nodes)
    assert "  1 Tesla T4        bbbbbbbb|aaa|xxx" in text.replace("  1 Tesla T4         ", "  1 Tesla T4        ")
    assert "6Gi/15.5Gi  38%  25t" in text
    assert " a  team-b  22Gi in 2 slices" in text
    assert text.endswith(". free, x held by others, t percent of GPU time granted; 1 pod waiting")


def test_troubles_are_told_in_words(nodes: tuple[NodePicture, ...]) -> None:
    """Beside the node and the GPU that have them."""
    text = drawn(nodes)
    assert "n2  ! has an agent that has gone silent" in text
    assert "! Xid 79: fallen off the bus" in text


@given(
    sizes=st.lists(st.integers(0, 100), max_size=12),
    whole=st.integers(1, 300),
    width=st.integers(1, 60),
)
def test_shares_fit_the_bar(sizes: list[int], whole: int, width: int) -> None:
    """Never more than there is; none of a slice is lost while there are characters enough."""
    found = shares(sizes, whole=whole, width=width)
    assert sum(found) <= width
    assert all(one >= 0 for one in found)
    if sum(sizes) <= whole // 2 and sum(1 for size in sizes if size) <= width // 2:
        assert all(one for one, size in zip(found, sizes, strict=True) if size)


def test_a_bar_is_as_wide_as_it_should_be(nodes: tuple[NodePicture, ...]) -> None:
    """Whatever is on the GPU."""
    for gpu in (gpu for node in nodes for gpu in node.gpus):
        assert sum(len(run.text) for run in bar(gpu, spaces(nodes), width=37)) == 37


def test_words_choose_nodes(nodes: tuple[NodePicture, ...]) -> None:
    """All of them must occur: in the name, a model, a namespace or a pod."""
    assert [node.name for node in having(nodes, ["TEAM-B", "l40s"])] == ["n2"]
    assert [node.name for node in having(nodes, [])] == ["n1", "n2"]
    assert "no GPUs" in drawn(having(nodes, ["nothing"]))


def test_the_picture_is_well_formed_and_names_cannot_break_out(nodes: tuple[NodePicture, ...]) -> None:
    """A pod may be called what it likes; control characters have no place in XML."""
    text = draw(nodes, spaces(nodes), columns=2)
    root = ET.fromstring(text)  # noqa: S314 - our own
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title and "team-b/<script>" in title for title in titles)
    assert "<script>" not in text
    assert "\x1b" not in text


def test_bars_of_the_picture_are_to_scale(nodes: tuple[NodePicture, ...]) -> None:
    """20 of 47.5 GiB take 42 % of the bar, less the border."""
    root = ET.fromstring(draw(nodes, spaces(nodes), columns=1))  # noqa: S314 - our own
    widths = [
        float(one.get("width", "0"))
        for one in root.iter("{http://www.w3.org/2000/svg}rect")
        if any("20Gi" in (title.text or "") for title in one)
    ]
    assert widths == [pytest.approx(230 * 20 / 47.5 - 1, abs=0.01)]
