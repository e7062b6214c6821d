"""The sign-in service: who a visitor is, and which apps they may enter.

``python -m mvsqlite_stack.signin`` runs it by the settings file that ``MVSTACK_SIGNIN`` names
(:mod:`~mvsqlite_stack.signin.settings`). What gateways and apps can rely on:

**Token.** A JWT, ES256, in one cookie (``cookie`` in the settings, ``session_jwt``) with
``Domain=<domain>; Path=/; Secure; HttpOnly; SameSite=Lax``. Header: ``alg``, ``typ``, ``kid``. Claims:
``iss`` (the key's id, as ``kid``), ``sub`` (the user's name), ``aud`` (a list: the apps that the user may
enter), ``sid`` (the session), ``iat``, ``nbf``, ``exp``. It lives ``lifetimes.token`` seconds.

**Renewal.** The session itself is an opaque secret in the cookie ``__Host-session`` of the sign-in host,
of which the database has the hash. A browser whose token is over is sent to
``https://<sign-in host>/?to=<url>`` by the gateway, which answers a living session with a new token and
the way back, without asking. ``/verify`` renews a token in the second half of its life with a
``Set-Cookie`` that the gateway should pass on. API clients and requests other than GET get 401.

**Sign-out.** ``/verify`` asks the database every time, so behind a gateway that asks it, as both of ours do,
a revoked session ends at once, and ``lifetimes.token`` may be hours. Whoever checks the token alone lets a
revoked session in until the token is over: at most ``lifetimes.token`` seconds. A request under way, a
WebSocket too, is not asked about again: it lasts until app or browser ends it.

**/verify** takes the cookie and the host that the visitor asked for, in the one header that
``host_header`` names (``X-Original-Host``); the gateway must set it itself. Answers: 204 with
``X-Auth-User`` (the user's name), ``X-Auth-Name`` (the name to show, UTF-8 with percent escapes) and
``X-Auth-Groups`` (names joined by commas); 204 without them for a public app; 401 without a valid token;
403 for a host that is no app's or an app that the user may not enter. With
``host_header = "X-Forwarded-Host"`` a GET that accepts text/html gets 302 to the sign-in page instead of
401, since forward-auth gateways pass the answer on.

**Keys** (:mod:`~mvsqlite_stack.signin.keys`). ``/.well-known/jwks.json`` has every public key.

**/healthz** answers 200 ``{"status": "ok"}`` while the database can be read and a key can sign, else 503.
"""
