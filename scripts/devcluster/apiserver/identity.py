"""Bearer tokens and whom they belong to."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from devcluster.apiserver.call import User

ADMIN = "admin-token"
_AUTHENTICATED = "system:authenticated"


class Tokens:
    """All tokens that the server accepts: given ones, and signed ones of service accounts."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._users: dict[str, User] = {}
        self._expiry: dict[str, datetime] = {}

    def issue(self, username: str, *, groups: Sequence[str] = (), uid: str = "") -> str:
        """A new token that never expires."""
        token = secrets.token_urlsafe(32)
        self._users[token] = User(username, uid, (*groups, _AUTHENTICATED))
        return token

    def issue_for_account(
        self,
        *,
        namespace: str,
        name: str,
        uid: str,
        audiences: Sequence[str],
        expires: datetime,
        bound: Mapping[str, Any],
    ) -> str:
        """A service account's token: a signed JWT, good until it expires."""
        identifier = secrets.token_hex(16)
        claims = {
            "aud": list(audiences),
            "exp": int(expires.timestamp()),
            "iss": "https://kubernetes.default.svc",
            "jti": identifier,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}, **bound},
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        body = b".".join(_encode(orjson.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        token = (body + b"." + _encode(hmac.digest(self._key, body, hashlib.sha256))).decode()
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", _AUTHENTICATED)
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={identifier}",)} | _extra(bound)
        self._users[token] = User(str(claims["sub"]), uid, groups, extra)
        self._expiry[token] = expires
        return token

    def user(self, token: str, *, now: datetime) -> User | None:
        """Whose token it is; None for a wrong or expired one."""
        expires = self._expiry.get(token)
        if expires is not None and now >= expires:
            return None
        return self._users.get(token)


def bearer(header: str) -> str:
    """The token of an Authorization header, or nothing."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _extra(bound: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What reviews and expressions see of the pod and the node that a token is bound to."""
    return {
        f"authentication.kubernetes.io/{kind}-{part}": (str(bound[kind][part]),)
        for kind in ("pod", "node")
        for part in ("name", "uid")
        if bound.get(kind, {}).get(part)
    }


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
