"""Checks of what stands in front of every pod: opted-in namespaces, registration, certificates, webhook, policies."""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from allocator.api import names
from allocator.cli.doctor.cluster import Cluster
from allocator.cli.doctor.finding import Check, Json, Trouble, labels_of, name_of, some, warning

APPLY: Final = "kubectl apply -k manifests/"
ELSEWHERE: Final = (
    "add `replacements: [{path: manifests/own-namespace.yaml}]` to your kustomization, and apply it again"
)
SOON: Final = timedelta(days=7)
"""A self-made certificate that is so near its end was not renewed in time."""
POLICIES: Final = frozenset({"agents", "bindings", "ephemeral", "host-access", "marked", "results", "unseen"})
"""The ValidatingAdmissionPolicies of the manifests, less the prefix `vramshare-`."""

_ACCOUNT: Final = re.compile(r"system:serviceaccount:([a-z0-9-]+):vramshare-")
_NAME_LABEL: Final = "kubernetes.io/metadata.name"


def _namespaces(cluster: Cluster) -> Iterator[Trouble]:
    """Somebody must have opted in, and nobody by a label that means nothing."""
    if not cluster.opted_in:
        label = f"kubectl label namespace <NAMESPACE> {names.INJECT_LABEL}={names.INJECT_ENABLED}"
        yield warning("no namespace has opted in: no pod gets a slice", label)
    for one in cluster.namespaces:
        value, name = labels_of(one).get(names.INJECT_LABEL), name_of(one)
        if value not in (None, names.INJECT_ENABLED, names.INJECT_DISABLED):
            remedy = f"kubectl label --overwrite namespace {name} {names.INJECT_LABEL}={names.INJECT_ENABLED}"
            yield Trouble(f"namespace {name} has {names.INJECT_LABEL}={value}, which means nothing", remedy)
        if value == names.INJECT_ENABLED and name in {"kube-system", cluster.system}:
            remedy = f"kubectl label namespace {name} {names.INJECT_LABEL}-"
            yield warning(f"namespace {name} is labelled, and left alone all the same", remedy)


def _registered(cluster: Cluster) -> Iterator[Trouble]:
    """The API server must know the webhook, and refuse GPU pods without it."""
    found = cluster.registration
    if found is None:
        yield Trouble(f"MutatingWebhookConfiguration {names.REGISTRATION} is missing: no pod gets a slice", APPLY)
        return
    hooks = found.get("webhooks") or ()
    if not any(one.get("failurePolicy", "Fail") == "Fail" for one in hooks):
        problem = "no webhook of the registration has failurePolicy Fail: GPU pods run without a wall while it is away"
        yield Trouble(problem, APPLY)
    for one in hooks:
        if one.get("sideEffects") not in ("NoneOnDryRun", "None"):
            yield warning(f"{one.get('name')} has sideEffects {one.get('sideEffects')}: no dry run works", APPLY)


def _bundle(cluster: Cluster) -> Iterator[Trouble]:
    """What the registration names must have signed what is served."""
    restart = f"kubectl -n {cluster.system} rollout restart deployment {names.WEBHOOK_SERVICE}"
    served = _served(cluster.secret)
    for one in (cluster.registration or {}).get("webhooks") or ():
        name, raw = one.get("name"), (one.get("clientConfig") or {}).get("caBundle") or ""
        try:
            authorities = x509.load_pem_x509_certificates(base64.b64decode(raw))
        except (ValueError, binascii.Error):
            authorities = []
        if not raw:
            yield Trouble(f"{name} has no caBundle: the API server believes no certificate of the webhook", restart)
        elif not authorities:
            yield Trouble(f"the caBundle of {name} holds no certificate", restart)
        elif all(not _valid(ca, cluster.now) for ca in authorities):
            yield Trouble(f"every CA in the caBundle of {name} has expired", restart)
        elif served is not None and not any(_signed(served, ca) for ca in authorities):
            yield Trouble(f"the caBundle of {name} does not name the CA of the certificate that is served", restart)


def _certificate(cluster: Cluster) -> Iterator[Trouble]:
    """The shared certificate must be whole and good for long enough."""
    delete = f"kubectl -n {cluster.system} delete secret {names.CERTIFICATE_SECRET}"
    if cluster.secret is None:
        given = _arguments(cluster)
        if not any(one.startswith("--cert=") for one in given):
            remedy = f"kubectl -n {cluster.system} logs deployment/{names.WEBHOOK_SERVICE}"
            yield warning(f"Secret {names.CERTIFICATE_SECRET} does not exist: no replica has started yet", remedy)
        return
    served = _served(cluster.secret)
    if served is None:
        yield Trouble(f"Secret {names.CERTIFICATE_SECRET} holds no certificate in `tls.crt`", delete)
        return
    if not _valid(served, cluster.now):
        ends = served.not_valid_after_utc.isoformat()
        yield Trouble(
            f"the webhook's certificate is not valid now (it ends {ends}); is this machine's clock right?", delete
        )
    elif served.not_valid_after_utc < cluster.now + SOON:
        ends = served.not_valid_after_utc.isoformat()
        remedy = f"kubectl -n {cluster.system} logs deployment/{names.WEBHOOK_SERVICE} | grep certificate"
        yield warning(f"the webhook's certificate ends {ends} and was not renewed", remedy)


def _reachable(cluster: Cluster) -> Iterator[Trouble]:
    """The API server's own word: a dry run of a small GPU pod."""
    if cluster.probe is None:
        yield warning("the webhook was not asked: no namespace has opted in")
    elif cluster.probe:
        remedy = f"kubectl -n {cluster.system} get pods,endpoints -o wide"
        yield Trouble(f"a GPU pod is not admitted {cluster.probe}", remedy)


def _replicas(cluster: Cluster) -> Iterator[Trouble]:
    """Two or more, ready, on different nodes."""
    if cluster.outside:
        return
    found = cluster.webhook
    if found is None:
        yield Trouble(f"Deployment {cluster.system}/{names.WEBHOOK_SERVICE} is missing", APPLY)
        return
    wanted, ready = int(found["spec"].get("replicas", 1)), int((found.get("status") or {}).get("readyReplicas") or 0)
    describe = f"kubectl -n {cluster.system} describe pods -l app.kubernetes.io/name={names.WEBHOOK_SERVICE}"
    if not ready:
        yield Trouble(f"none of the webhook's {wanted} replicas is ready: no GPU pod is admitted", describe)
    elif ready < wanted:
        yield warning(f"{ready} of the webhook's {wanted} replicas are ready", describe)
    elif wanted < 2:
        remedy = f"kubectl -n {cluster.system} scale deployment {names.WEBHOOK_SERVICE} --replicas=2"
        yield warning("the webhook has one replica: while it restarts no GPU pod is admitted", remedy)
    places = [
        one["spec"].get("nodeName")
        for one in cluster.pods
        if labels_of(one).get("app.kubernetes.io/name") == names.WEBHOOK_SERVICE
    ]
    if len(places) > 1 and len(set(places)) == 1:
        yield warning(f"all replicas of the webhook run on node {places[0]}: with it goes the admission of GPU pods")


def _policies(cluster: Cluster) -> Iterator[Trouble]:
    """What keeps users from writing what is vramshare's to write."""
    bound = {str(one.get("spec", {}).get("policyName", "")) for one in cluster.bindings}
    present = {name_of(one) for one in cluster.policies}
    for short in sorted(POLICIES):
        name = f"vramshare-{short}"
        if name not in present:
            yield Trouble(f"ValidatingAdmissionPolicy {name} is missing: what it forbids, users can do", APPLY)
        elif name not in bound:
            yield Trouble(f"ValidatingAdmissionPolicy {name} has no binding: it forbids nothing", APPLY)


def _strays(cluster: Cluster) -> Iterator[Trouble]:
    """Whoever installs into another namespace has it named in more places than kustomize knows."""
    strays = [
        name_of(one)
        for one in cluster.policies
        if name_of(one).removeprefix("vramshare-") in POLICIES
        and set(_ACCOUNT.findall(json.dumps(one.get("spec", {})))) - {cluster.system}
    ]
    if strays:
        problem = f"{', '.join(strays)} expect vramshare's service accounts in another namespace than {cluster.system}"
        yield Trouble(f"{problem}: queued pods stay queued, and agents are not held to their own node", ELSEWHERE)
    hooks = (cluster.registration or {}).get("webhooks") or ()
    if any(cluster.system not in _left_out(one) for one in hooks):
        problem = f"the registration does not leave namespace {cluster.system} out"
        yield warning(f"{problem}: were it labelled, the webhook would wait for itself", ELSEWHERE)


def _left_out(hook: Json) -> set[str]:
    """The namespaces that a webhook is not asked about, by name."""
    terms = (hook.get("namespaceSelector") or {}).get("matchExpressions") or ()
    return {
        value
        for one in terms
        if one.get("key") == _NAME_LABEL and one.get("operator") == "NotIn"
        for value in one.get("values") or ()
    }


def _arguments(cluster: Cluster) -> list[str]:
    """The arguments of the webhook's container."""
    template = ((cluster.webhook or {}).get("spec") or {}).get("template") or {}
    return [arg for one in (template.get("spec") or {}).get("containers") or () for arg in one.get("args") or ()]


def _served(secret: Json | None) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(base64.b64decode((secret or {}).get("data", {}).get("tls.crt", "")))
    except (ValueError, binascii.Error):
        return None


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _ready(cluster: Cluster) -> str:
    if cluster.outside:
        return "the webhook is registered by URL and runs outside of the cluster"
    return f"{((cluster.webhook or {}).get('status') or {}).get('readyReplicas')} are ready"


CHECKS: Final = (
    Check("namespaces", ("namespaces",), _namespaces, lambda one: f"opted in: {some(one.opted_in)}"),
    Check("registration", ("registrations",), _registered, lambda _: "the API server knows the webhook"),
    Check("ca-bundle", ("registrations",), _bundle, lambda _: "the registration names the webhook's CA"),
    Check("certificate", ("secret", "deployments"), _certificate, lambda _: "the webhook's certificate is good"),
    Check("webhook", ("namespaces",), _reachable, lambda _: "the API server reaches it, and it answers"),
    Check("replicas", ("deployments", "pods", "registrations"), _replicas, _ready),
    Check("policies", ("policies", "bindings"), _policies, lambda _: f"all {len(POLICIES)} are in force"),
    Check("own-namespace", ("policies", "registrations"), _strays, lambda one: f"{one.system}, and policies know it"),
)
