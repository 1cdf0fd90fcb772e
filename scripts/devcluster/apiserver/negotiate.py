"""Content negotiation: which answer a client takes, which body a verb takes."""

from dataclasses import dataclass

from devcluster.apiserver import status

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
BODY_TYPES = (JSON, YAML, PROTOBUF)
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_CHARSETS = {"", "utf-8"}


@dataclass(frozen=True, slots=True)
class Accept:
    """The chosen answer: JSON of the object, or of a transformed view (`Table`, `PartialObjectMetadata`...)."""

    view: str = ""
    version: str = "v1"
    group: str = "meta.k8s.io"
    yaml: bool = False
    pretty: bool = False


def accept(header: str) -> Accept:
    """The first acceptable form.

    Raises:
        ApiError: 406 when no form is one the server can send.
    """
    clauses = [_clause(part) for part in header.split(",") if part.strip()]
    if not clauses:
        return Accept()
    for media, parameters in clauses:
        if media not in {JSON, YAML, "*/*", "application/*", "text/*"} or media == "text/*":
            continue
        view = parameters.get("as", "")
        if view and (parameters.get("v", "v1") not in {"v1", "v1beta1", "v2", "v2beta1"} or media == YAML):
            continue
        return Accept(
            view=view,
            version=parameters.get("v", "v1"),
            group=parameters.get("g", "meta.k8s.io"),
            yaml=media == YAML,
        )
    raise status.not_acceptable()


def body_type(header: str, *, patch: bool) -> str:
    """The body's media type, checked against what the verb takes.

    Raises:
        ApiError: 415 otherwise.
    """
    media = header.split(";", 1)[0].strip().lower()
    accepted = PATCH_TYPES if patch else BODY_TYPES
    if not media and not patch:
        return JSON
    if media not in accepted:
        raise status.unsupported_media(accepted)
    return media


def _clause(text: str) -> tuple[str, dict[str, str]]:
    media, *rest = (part.strip() for part in text.split(";"))
    return media, dict(part.split("=", 1) for part in rest if "=" in part)
