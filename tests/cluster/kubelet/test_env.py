"""Resolving a container's environment and command."""

from typing import Any

import pytest
from devcluster.kubelet.env import Context, resolve_command, resolve_env
from devcluster.kubelet.expansion import expand
from devcluster.kubelet.sources import ConfigError, Sources
from hypothesis import given
from hypothesis import strategies as st


def context(**changes: Any) -> Context:
    """The resolver's surroundings."""
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "annotations": {"a.io/b": "yes"}, "labels": {"l": "1"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]},
        "status": {"podIP": "127.1.2.3", "hostIP": "127.0.0.1"},
    }
    values: dict[str, Any] = {
        "pod": pod,
        "sources": Sources(configmaps={"cm": {"k": b"v"}}, secrets={"s": {"p": b"w"}}, namespace="n"),
        "allocatable": {"memory": "4Gi"},
        "base": {"PATH": "/bin"},
    }
    return Context(**{**values, **changes})


def env(*entries: dict[str, Any], **rest: Any) -> dict[str, str]:
    """The environment of a container with these entries."""
    return resolve_env({"name": "c", "env": list(entries), **rest}, context())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "x"),
        ("a$(A)b$(A)", "axbx"),
        ("$(NOPE)", "$(NOPE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$x"),
        ("$A $ $(", "$A $ $("),
    ],
)
def test_reference_forms(text: str, expected: str) -> None:
    """References are replaced, unknown ones stay, a doubled dollar escapes."""
    assert expand(text, {"A": "x"}) == expected


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_dollar_is_unchanged(text: str) -> None:
    """Nothing but a dollar sign has a meaning."""
    assert expand(text, {"A": "x"}) == text


def test_values_refer_to_earlier_entries_only() -> None:
    """A reference sees the entries above it, base included."""
    found = env({"name": "B", "value": "$(A)-$(PATH)"}, {"name": "A", "value": "late"}, {"name": "C", "value": "$(A)"})
    assert (found["B"], found["C"]) == ("$(A)-/bin", "late")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.annotations['a.io/b']", "yes"),
        ("metadata.annotations['missing']", ""),
        ("metadata.labels['l']", "1"),
        ("metadata.name", "p"),
        ("metadata.namespace", "n"),
        ("metadata.uid", "u"),
        ("spec.nodeName", "node-1"),
        ("status.podIP", "127.1.2.3"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_field_references(path: str, expected: str) -> None:
    """A fieldRef reads the pod; what is not set is empty."""
    assert env({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}})["X"] == expected


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "1", "2"),
        ("limits.cpu", "1m", "1500"),
        ("limits.memory", "1Mi", "4096"),
        ("requests.cpu", "1", "0"),
    ],
)
def test_resource_references(resource: str, divisor: str, expected: str) -> None:
    """A resource is divided and rounded up; an unset limit is the node's allocatable."""
    entry = {"name": "X", "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}}
    assert env(entry)["X"] == expected


def test_config_maps_and_secrets() -> None:
    """Keys and whole objects become variables; env wins over envFrom."""
    found = env(
        {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
        {"name": "pre_p", "value": "own"},
        envFrom=[{"configMapRef": {"name": "cm"}}, {"prefix": "pre_", "secretRef": {"name": "s"}}],
    )
    assert (found["K"], found["k"], found["pre_p"]) == ("v", "v", "own")


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "cm", "key": "no"}}, "couldn't find key no in ConfigMap n/cm"),
    ],
)
def test_missing_references_say_what_is_missing(origin: dict[str, Any], message: str) -> None:
    """A missing object or key keeps the container from starting, in a real kubelet's words."""
    with pytest.raises(ConfigError) as caught:
        env({"name": "X", "valueFrom": origin})
    assert str(caught.value) == message


def test_optional_references_leave_the_variable_out() -> None:
    """An optional missing key is no variable at all, not an empty one."""
    assert "X" not in env({"name": "X", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k", "optional": True}}})


def test_command_and_arguments_are_expanded() -> None:
    """References in command and args see the whole environment; no command means the image's."""
    container = {"command": ["run", "$(A)"], "args": ["$(B)"]}
    assert resolve_command(container, {"A": "1", "B": "2"}) == ("run", "1", "2")
    assert resolve_command({"args": ["x"]}, {}) == ()
    assert resolve_command({"args": ["$(A)"]}, {"A": "1"}, ["entry", "$(A)"]) == ("entry", "$(A)", "1")
    assert resolve_command(container, {"A": "1", "B": "2"}, ["entry"])[0] == "run"
