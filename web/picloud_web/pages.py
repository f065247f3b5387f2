"""The pages people need before there is anything else: what this is, sign in, and become the first admin.

Each is one document that loads nothing: its style and its script are inside, and the Content-Security-Policy names
their hashes, so that nothing else runs in it. The script posts JSON to the control API; the session's cookie is beyond
its reach. The secret of the setup link stands in the fragment, which browsers do not send; the script takes it out of
the address bar before it does anything else.
"""

from __future__ import annotations

import base64
import hashlib

import falcon
import falcon.asgi

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { max-width: 22rem; margin: 12vh auto 0; padding: 0 1rem }
label { display: block; margin-top: 1rem }
input, button { box-sizing: border-box; width: 100%; padding: .5rem; font: inherit }
button { margin-top: 1.5rem }
#told { min-height: 3rem; color: #c22 }
"""

# Not `mode: "same-origin"`: with `Referrer-Policy: no-referrer` such a request says `Origin: null` (Fetch, "append a
# request Origin header"), and over plain http `Origin` is all that tells the server whose page this is.
_SCRIPT = """
"use strict";
const form = document.querySelector("form");
const told = document.getElementById("told");
const secret = location.hash.slice(1);
if (secret) history.replaceState(null, "", location.pathname);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  told.textContent = "";
  const body = { name: form.elements.name.value, password: form.elements.password.value };
  if (form.dataset.secret) body.secret = secret;
  try {
    const answer = await fetch(form.dataset.call, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body)
    });
    if (answer.ok) { location.replace("/"); return; }
    const problem = await answer.json();
    told.textContent = problem.detail || problem.title;
  } catch (error) {
    told.textContent = "PiCloud does not answer.";
  }
  button.disabled = false;
});
if (form.dataset.secret && !secret) {
  told.textContent = "This page needs the link that `picloud up` printed, or `picloud users setup-link` prints.";
  form.hidden = true;
}
"""

_LANDING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>PiCloud</title>
<style>{style}</style>
</head>
<body>
<h1>PiCloud</h1>
<p>It runs. <code>picloud deploy</code> brings an app here; it answers under <code>/@app/…</code> and on its own host,
<code>app.localhost</code>.</p>
<p><a href="/login">Sign in</a> · <a href="/api/v1/docs">The control API</a></p>
</body>
</html>
"""

_FORM = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{intro}</p>
<form method="post" {data}>
<label>Name <input name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus>
</label>
<label>Password <input name="password" type="password" autocomplete="{autocomplete}" required></label>
<button>{button}</button>
</form>
<p id="told" role="alert"></p>
<noscript><p>This page needs JavaScript; <code>picloud login</code> does not.</p></noscript>
<script>{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

#: What browsers are told about every page of PiCloud's own.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page:
    """A page that is the same for everybody."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        response.content_type = falcon.MEDIA_HTML
        response.set_headers(HEADERS)
        response.text = self._text


def landing_page() -> Page:
    """``/`` of PiCloud's own host."""
    return Page(_LANDING.format(style=_STYLE))


def login_page() -> Page:
    """``/login``."""
    return _form_page(
        title="Sign in to PiCloud",
        intro="With the name and password of a user.",
        data='data-call="/api/v1/auth/login"',
        autocomplete="current-password",
        button="Sign in",
    )


def setup_page() -> Page:
    """``/setup``, where the one-time link leads."""
    return _form_page(
        title="Set PiCloud up",
        intro="Choose the name and password of the first administrator: 8 characters or more.",
        data='data-call="/api/v1/auth/setup" data-secret="yes"',
        autocomplete="new-password",
        button="Begin",
    )


def _form_page(**values: str) -> Page:
    return Page(_FORM.format(style=_STYLE, script=_SCRIPT, **values))
