"""The pages in a real browser: keyboard alone, phone width, passkeys, contrast, without JavaScript."""

import re
from pathlib import Path

import pyotp
import pytest

import chromium
from mvsqlite_stack.signin.web.app import STATIC
from signin_kit import EVERYONE, PASSWORD, Running


def sign_in(page: chromium.Page, service: Running, name: str, to: str = "") -> None:
    """With the keyboard alone, beginning where the page puts the focus."""
    page.go(f"{service.origin}/{f'?to={to}' if to else ''}")
    page.type(name)
    page.press("Tab")
    page.type(PASSWORD)
    page.press("Enter")


def test_everything_is_done_with_the_keyboard(service: Running, page: chromium.Page) -> None:
    """Sign in, a second factor, recovery codes, sign out, and in again with a code."""
    user = service.user()
    sign_in(page, service, user.name)
    page.arrive("/account")
    page.tab_to("a[href='/account/app']")
    page.press("Enter")
    page.arrive("/account/app")
    secret = page.value("document.querySelector('.secret').textContent").replace(" ", "")
    page.tab_to("#code")
    page.type(pyotp.TOTP(secret).now())
    page.press("Enter")
    page.wait("document.querySelectorAll('.codes li').length === 10")
    first = page.value("document.querySelector('.codes li').textContent")
    page.tab_to("header a[href='/sign-out']")
    page.press("Enter")
    page.arrive("/sign-out")
    page.press("Enter")
    page.arrive("/signed-out")
    sign_in(page, service, user.name)
    page.arrive("/second")
    page.tab_to("a[href='/recovery']")
    page.press("Enter")
    page.arrive("/recovery")
    page.type(first)
    page.press("Enter")
    page.arrive("/account")
    assert service.service.factors.recovery_codes_left(user) == 9


def test_passkeys_in_a_real_browser(service: Running, page: chromium.Page) -> None:
    user = service.user()
    page.add_authenticator()
    sign_in(page, service, user.name)
    page.arrive("/account")
    page.go(f"{service.origin}/account/passkeys")
    page.tab_to("#label")
    page.type("My phone")
    page.press("Enter")
    page.wait("!!document.querySelector('.codes')")
    assert [one.label for one in service.service.passkeys.of(user)] == ["My phone"]
    page.go(f"{service.origin}/account/passkeys")
    page.tab_to("[data-passkey] button")
    page.press("Enter")
    page.wait("document.body.innerText.includes('has a passkey of yours already')")
    page.call("Network.clearBrowserCookies")
    page.go(f"{service.origin}/")
    page.tab_to("[data-passkey] button")
    page.press("Enter")
    page.arrive("/account")
    assert service.service.sessions.of(user)[0].methods == "passkey"
    page.go(f"{service.origin}/confirm?next=/account/password")
    page.tab_to("[data-passkey] button")
    page.press("Enter")
    page.arrive("/account/password")
    page.call("WebAuthn.disable")


def test_the_browser_is_let_go_to_the_app(service: Running, page: chromium.Page) -> None:
    """No policy of ours stands in the way of the redirect after the form."""
    sign_in(page, service, service.user().name, service.app(EVERYONE, "/there"))
    # Of this app only its host is here, which answers that this is not the sign-in page.
    page.wait(f"location.hostname === '{EVERYONE}' && location.pathname === '/there'")
    cookies = {one["name"]: one for one in page.call("Network.getCookies")["cookies"]}
    assert cookies.keys() == {"session_jwt"}
    assert cookies["session_jwt"]["domain"] == ".home.test"
    assert cookies["session_jwt"]["httpOnly"]


def test_without_javascript_all_but_passkeys_works(service: Running, page: chromium.Page) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        sign_in_without_script(page, service)
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


def sign_in_without_script(page: chromium.Page, service: Running) -> None:
    sign_in(page, service, service.user().name)
    page.arrive("/account")
    page.go(f"{service.origin}/account/passkeys")
    assert "Adding a passkey needs JavaScript." in page.text()
    assert "Add a passkey" not in page.text()


PAGES = ["/account", "/account/app", "/account/passkeys", "/account/password", "/account/recovery-codes"]
PAGES += ["/confirm", "/sign-out", "/denied?app=notes", "/nothing"]

CONTRAST = """
(() => {
  const shade = (text) => {
    const [r, g, b, a] = text.match(/[0-9.]+/g).map(Number);
    const part = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return { light: 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b), seen: a === undefined || a > 0 };
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const found = shade(getComputedStyle(element).backgroundColor);
      if (found.seen) return found.light;
    }
    return 1;
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!text || !element.getClientRects().length) continue;
    const [a, b] = [shade(getComputedStyle(element).color).light, ground(element)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${element.outerHTML.slice(0, 80)}: ${ratio.toFixed(2)}`);
  }
  return low;
})()
"""

SMALL = """
[...document.querySelectorAll("button, a.button, input:not([type=hidden]), summary")]
  .filter((e) => e.getClientRects().length && !e.classList.contains("gone"))
  .filter((e) => e.getBoundingClientRect().height < 24).map((e) => e.outerHTML.slice(0, 80))
"""

UNNAMED = """
[...document.querySelectorAll("input:not([type=hidden]):not(.gone), button, a")]
  .filter((e) => !(e.labels && e.labels.length) && !e.textContent.trim()).map((e) => e.outerHTML.slice(0, 80))
"""


def look(page: chromium.Page, address: str) -> None:
    """WCAG AA contrast in light and dark, nothing wider than a phone, everything named and hit by a thumb."""
    page.go(address)
    for dark in (False, True):
        page.dark(dark)
        assert page.value(CONTRAST) == [], f"{address}, dark: {dark}"
    page.size(*chromium.PHONE, phone=True)
    assert page.value("document.documentElement.scrollWidth") <= chromium.PHONE[0], address
    assert page.value(SMALL) == [], address
    assert page.value(UNNAMED) == [], address
    assert page.value("document.querySelectorAll('h1').length") == 1, address
    assert page.value("document.documentElement.lang") == "en"
    page.size(*chromium.DESKTOP)
    page.dark(False)


def test_pages_are_readable_on_any_screen(service: Running, page: chromium.Page) -> None:
    look(page, f"{service.origin}/")
    sign_in(page, service, service.user().name)
    page.arrive("/account")
    for path in PAGES:
        look(page, f"{service.origin}{path}")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


TEXT = {
    "ink": ("ground", "paper"),
    "faint": ("ground", "paper"),
    "accent": ("ground", "paper"),
    "accent-strong": ("ground", "paper"),
    "on-accent": ("accent", "accent-strong"),
    "danger": ("paper", "danger-ground"),
    "good": ("good-ground",),
}
"""What stands on what: 4.5 at least."""
EDGES = {"edge": ("paper",), "accent": ("paper", "ground"), "danger": ("paper",)}
"""What shows where something can be typed, pressed, or has the focus: 3 at least."""


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_the_stylesheets_colours_have_contrast(which: int) -> None:
    css: Path = STATIC["style.css"]
    blocks = css.read_text().split("@media")
    sets = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in blocks]
    colours = sets[which]
    assert colours.keys() == sets[0].keys()
    for pairs, least in ((TEXT, 4.5), (EDGES, 3.0)):
        for front, grounds in pairs.items():
            for ground in grounds:
                found = contrast(colours[front], colours[ground])
                assert found >= least, f"{front} on {ground}: {found:.2f}"
