"""Who may ask the server what: reading only, from this machine or with a token, and headers that
let the page ask nobody else.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RequestGuard", "is_loopback"]

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on this host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class RequestGuard:
    """Lets through what may be asked.

    app: what answers.
    host: that the server listens on.
    token: that whoever asks must know; ``""``: none is needed.
    """

    def __init__(self, app: ASGIApp, host: str, token: str) -> None:
        self._app, self._host, self._token = app, host, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket: there are none
            return
        refusal = self._refusal(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", _POLICY)
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse(
                "this server only reads", status_code=405, headers={"Allow": "GET, HEAD"}
            )
        # A foreign name that was made to point here would let its page read ours.
        named = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if is_loopback(self._host) and not is_loopback(named):
            return PlainTextResponse(
                f"this server does not answer to the name {named[:80]!r}", status_code=421
            )
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and scope[
            "path"
        ].startswith("/api/"):
            return PlainTextResponse("asked from another page", status_code=403)
        return self._without_token(scope, headers) if self._token else None

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """What to answer whoever has not shown the token yet; ``None`` for who has."""
        name = f"cellsearch_{(scope.get('server') or ('', 0))[1]}"
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(name)
        except CookieError:
            cookie = None
        if cookie is not None and self._is_token(cookie.value):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self._is_token(given):
            # The token leaves the address, so that links that are copied do not hold it.
            response = RedirectResponse(scope["path"], status_code=303)
            response.set_cookie(name, self._token, httponly=True, samesite="strict", path="/")
            return response
        said = "this page needs the token: open the whole address that `cellsearch ui` printed"
        return PlainTextResponse(said, status_code=401)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())
