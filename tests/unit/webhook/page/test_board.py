"""The page's contents, brought up to date by differences."""

from collections.abc import Iterable
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from page_fleet import ShownFleet, large

from allocator.core.fragmentation import by_model
from allocator.core.picture import draw_node
from webhook.page.board import QUEUE_SHOWN, Board


def applied(board: Board, shown: ShownFleet, known: dict[str, Any]) -> dict[str, Any]:
    """What a browser holds that has followed until now."""
    for nodes in board.changed_nodes(shown.fleet):
        for name, node in nodes.items():
            if node is None:
                known.pop(name, None)
            else:
                known[name] = node
    return known


def truth(shown: ShownFleet) -> dict[str, Any]:
    """What it should hold."""
    drawn = ((node.name, draw_node(node)) for node in shown.fleet.nodes())
    return {name: one.to_json() for name, one in drawn if one is not None}


def names(found: Iterable[dict[str, Any]]) -> set[str]:
    """The nodes in some differences."""
    return {name for nodes in found for name in nodes}


def test_a_browser_that_follows_holds_what_the_fleet_holds() -> None:
    """Whatever changed in between, and of 100 nodes in several steps."""
    shown, board = large(100, per_node=1), Board()
    known = applied(board, shown, {})
    assert known == truth(shown)
    shown.churn(30)
    shown.fleet.remove_inventory("node-0007")
    assert applied(board, shown, known) == truth(shown)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.integers(0, 7), max_size=30), seed=st.integers(0, 1000))
def test_differences_add_up_for_any_history(steps: list[int], seed: int) -> None:
    """Nodes that come, go and come back in another row; grants; a log that is cut."""
    shown, board, known = ShownFleet(Random(seed)), Board(), {}
    for step in steps:
        name = f"n{step % 3}"
        if step < 3:
            shown.add_node(name, gpus=1 + step)
        elif step < 5:
            shown.fleet.remove_inventory(name)
            shown.fleet.remove_node(name)
        elif step < 7:
            shown.hold(name, gpu=0, gib=1)
        else:
            shown.fleet.table.forget_views()
        if step % 2:
            known = applied(board, shown, known)
    assert applied(board, shown, known) == truth(shown)


def test_only_what_has_changed_is_told() -> None:
    """One grant, one node; nothing, nothing."""
    shown, board = large(40, per_node=1), Board()
    names(board.changed_nodes(shown.fleet))
    shown.hold("node-0002", gpu=0, gib=1)
    assert names(board.changed_nodes(shown.fleet)) == {"node-0002"}
    shown.fleet.apply_inventory(shown.fleet.node("node-0003").inventory)
    assert names(board.changed_nodes(shown.fleet)) == set()


def test_of_a_long_queue_the_first_are_named_and_all_are_counted() -> None:
    """And it is told again only when it has changed."""
    shown, board = ShownFleet(Random(1)), Board()
    for number in range(QUEUE_SHOWN + 3):
        shown.wait(f"p{number}")
    told = board.changed_queue(shown.queue)
    assert (len(told["queue"]), told["queued"]) == (QUEUE_SHOWN, QUEUE_SHOWN + 3)
    assert board.changed_queue(shown.queue) == {}
    assert board.changed_queue(shown.queue[1:])["queued"] == QUEUE_SHOWN + 2


def test_history_keeps_an_hour() -> None:
    """Of points half a minute apart; each says what of the fleet is used and who waits."""
    shown, board = large(8), Board()
    board.changed_queue(shown.queue)
    for number in range(130):
        board.sample(by_model(shown.fleet.table), at=30.0 * number)
    history = board.whole()["history"]
    assert history[-1]["at"] - history[0]["at"] == 119 * 30
    assert 0 < history[-1]["used"] < history[-1]["total"] == 8
    assert history[-1]["queued"] == 30
