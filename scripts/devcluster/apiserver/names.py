"""Names, labels and annotations: what is valid, in the server's words."""

import re
from typing import Any

from devcluster.apiserver.status import Cause

Json = dict[str, Any]
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ANNOTATIONS_LIMIT = 256 * 1024

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SERVICE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def check(meta: Json, form: str, *, generated: bool) -> list[Cause]:
    """What is wrong with an object's metadata."""
    name = meta.get("name", "")
    if not name:
        return [Cause("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")]
    field = "metadata.generateName" if generated else "metadata.name"
    causes = [Cause(field, f'Invalid value: "{name}": {wrong}') for wrong in name_errors(name, form)]
    causes += check_labels(meta.get("labels") or {}, "metadata.labels")
    return causes + check_annotations(meta.get("annotations") or {})


def name_errors(name: str, form: str) -> list[str]:
    """What is wrong with a name of that form."""
    if form == "path":
        return ["may not be '.'"] if name in {".", ".."} else [f"may not contain '{c}'" for c in "/%" if c in name]
    pattern, text, limit = {
        "label": (_LABEL, _LABEL_TEXT, 63),
        "service": (_SERVICE, _SERVICE_TEXT, 63),
    }.get(form, (_SUBDOMAIN, _SUBDOMAIN_TEXT, 253))
    errors = [] if len(name) <= limit else [f"must be no more than {limit} characters"]
    return errors if pattern.fullmatch(name) else [*errors, text]


def qualified_errors(key: str) -> list[str]:
    """What is wrong with a label or annotation key, or a resource name."""
    prefix, slash, name = key.rpartition("/")
    errors = []
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif prefix and name_errors(prefix, "subdomain"):
        errors += [f"prefix part {error}" for error in name_errors(prefix, "subdomain")]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > 63:
        errors.append("name part must be no more than 63 characters")
    if not _QUALIFIED.fullmatch(name):
        errors.append(_QUALIFIED_TEXT)
    return errors


def check_labels(labels: Json, field: str) -> list[Cause]:
    """What is wrong with labels."""
    causes = []
    for key, value in labels.items():
        causes += [Cause(field, f'Invalid value: "{key}": {error}') for error in qualified_errors(key)]
        if len(value) > 63:
            causes.append(Cause(field, f'Invalid value: "{value}": must be no more than 63 characters'))
        if not _VALUE.fullmatch(value):
            causes.append(Cause(field, f'Invalid value: "{value}": {_VALUE_TEXT}'))
    return causes


def check_annotations(annotations: Json) -> list[Cause]:
    """What is wrong with annotations."""
    causes = [
        Cause("metadata.annotations", f'Invalid value: "{key}": {error}')
        for key in annotations
        for error in qualified_errors(key.lower())
    ]
    size = sum(len(key) + len(value.encode()) for key, value in annotations.items())
    if size > _ANNOTATIONS_LIMIT:
        wrong = f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
        causes.append(Cause("metadata.annotations", wrong, "FieldValueTooLong"))
    return causes
