"""Service accounts may do what their roles allow, and nothing else, where the server is told so."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from devcluster.apiserver import ApiServer
from devcluster.apiserver.rbac import Request, rule_allows

from tests.cluster.api import Api

Json = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLE: Json = {
    "metadata": {"name": "r"},
    "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create"]}],
}
BINDING: Json = {
    "metadata": {"name": "r"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
    "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
}
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Api, Api]]:
    """Clients of a server that enforces roles: its administrator, and a service account with a role."""
    async with ApiServer(folder=tmp_path, enforce_rbac=True) as server:
        context = ssl.create_default_context(cafile=server.ca)
        async with Api(server.url, token=server.token, context=context) as admin:
            await admin.create(f"{RBAC}/namespaces/default/roles", ROLE)
            await admin.create(f"{RBAC}/namespaces/default/rolebindings", BINDING)
            made = await admin.create("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
            token = made.body["status"]["token"]
            async with Api(server.url, token=token, context=context) as account:
                yield admin, account


async def test_a_role_allows_what_it_names_in_its_namespace(both: tuple[Api, Api]) -> None:
    """Other verbs, other resources and other namespaces are refused, in the real server's words."""
    _, account = both
    assert (await account.create(MAPS, {"metadata": {"name": "m"}})).status == 201
    assert (await account.get(f"{MAPS}/m")).status == 200
    refused = await account.delete(f"{MAPS}/m")
    assert (refused.status, refused.body["message"]) == (
        403,
        (
            'configmaps "m" is forbidden: User "system:serviceaccount:default:default" cannot delete resource '
            '"configmaps" in API group "" in the namespace "default"'
        ),
    )
    assert (await account.get("/api/v1/namespaces/kube-system/configmaps/m")).status == 403
    everywhere = await account.get("/api/v1/pods")
    assert everywhere.body["message"].endswith('cannot list resource "pods" in API group "" at the cluster scope')


async def test_a_cluster_role_allows_it_everywhere(both: tuple[Api, Api]) -> None:
    """Bound for the cluster; bound in a namespace it holds there only."""
    admin, account = both
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]
    await admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "all"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"}
    binding = {**BINDING, "metadata": {"name": "all"}, "roleRef": reference}
    await admin.create(f"{RBAC}/namespaces/default/rolebindings", binding)
    assert [(await account.get(path)).status for path in ("/api/v1/namespaces/default/pods", "/api/v1/pods")] == [
        200,
        403,
    ]
    await admin.create(f"{RBAC}/clusterrolebindings", binding)
    assert (await account.get("/api/v1/pods")).status == 200


@pytest.mark.parametrize(
    ("request_", "holds"),
    [
        (Request("get", "", "secrets", "n", "mine"), True),
        (Request("get", "", "secrets", "n", "other"), False),
        (Request("list", "", "secrets", "n", ""), False),
        (Request("create", "", "secrets", "n", "mine"), False),
    ],
)
def test_names_restrict_a_rule(request_: Request, holds: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """To requests for that object; a list only by its name; a creation never."""
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"], "resourceNames": ["mine"]}
    assert rule_allows(rule, request_) is holds


def test_a_subresource_is_a_resource_of_its_own() -> None:
    """Whoever may change pods may not change their status by that."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    assert not rule_allows(rule, Request("patch", "", "pods/status", "n", "p"))
    assert rule_allows({**rule, "resources": ["*/status"]}, Request("patch", "", "pods/status", "n", "p"))
