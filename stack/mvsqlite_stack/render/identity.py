"""What a client must not be able to tell an app about itself."""

IDENTITY = ("X-Auth-User", "X-Auth-Name", "X-Auth-Groups")
"""The headers in which an app is told its visitor by the gateway."""

FORGED = (
    *IDENTITY,
    "X-Consumer-ID",
    "X-Consumer-Custom-ID",
    "X-Consumer-Username",
    "X-Consumer-Groups",
    "X-Credential-Identifier",
    "X-Credential-Username",
    "X-Anonymous-Consumer",
    "X-Authenticated-UserID",
    "X-Authenticated-Scope",
    "X-Authenticated-Groups",
    "Remote-User",
    "Remote-Name",
    "Remote-Email",
    "Remote-Groups",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Webauth-User",
    "X-Webauth-Name",
    "X-Webauth-Email",
    "X-Webauth-Groups",
    "X-Original-Host",
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "Proxy",
)
"""Headers that apps take for the word of a gateway: identities, and other addresses than the one that was
checked. None that a client sends reaches an app."""

COOKIE = "session_jwt"
"""The cookie with the token: for the gateway, not for apps."""

SECURITY = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
}
"""Added to an answer in which the app does not say another thing itself."""
