"""Annotations under vramshare's names that mean nothing: most often a slip of the pen.

They are told and not refused: a newer version may know them, and pods of another tool may carry them along.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from allocator.api import names
from webhook.mutation.outcome import Notes

_WORDS: Final = sorted(key.partition("/")[2] for key in names.REQUEST_ANNOTATIONS)
_GROUPS: Final = sorted(prefix.partition(".")[0] for prefix in names.REQUEST_PREFIXES)
_LONGEST: Final = 40
"""Characters of a name in a warning, which kubectl users are to see whole."""


def tell_unknown(annotations: Iterable[str], notes: Notes) -> None:
    """Warn of each annotation that is under vramshare's names and has no meaning.

    Args:
        annotations: names of the pod's annotations.
        notes: warnings are added here.
    """
    for key in sorted(annotations):
        if notes.full:  # a likely meaning takes long to find, and a pod may have thousands of annotations
            return
        group = key.partition("/")[0]
        ours = group == names.DOMAIN or group.endswith(f".{names.DOMAIN}")
        if ours and not (names.is_request(key) or names.is_result(key)):
            notes.add(f"annotation {key[:_LONGEST]} means nothing; {_advice(key)}")


def _advice(key: str) -> str:
    if key == names.INJECT_LABEL:
        return "it is a label of pods and namespaces"
    group, _, name = key.partition("/")
    if group == names.DOMAIN:
        near = [f"{names.DOMAIN}/{word}" for word in get_close_matches(name, _WORDS, n=1)]
    else:
        found = get_close_matches(group.removesuffix(f".{names.DOMAIN}"), _GROUPS, n=1)
        near = [f"{word}.{names.DOMAIN}/<container>" for word in found]
    return f"did you mean {near[0]}?" if near else "it is passed over"
