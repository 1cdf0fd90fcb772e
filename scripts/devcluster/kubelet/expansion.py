"""``$(NAME)`` references in env values, commands and arguments.

Rules (as documented for ``command`` and ``env`` of a container): a reference to a defined variable is replaced, one to
an undefined variable stays as it is, ``$$`` is an escaped ``$``, and any other use of ``$`` stays.
"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return ``text`` with its references replaced."""

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)
