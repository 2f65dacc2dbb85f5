"""Looks at the status page of a running daemon with a real browser, as its readers do. Started by tests/daemon_page.rs, which
makes the leases; a line printed here tells it that it is its turn. Waits for conditions only, never for time to pass."""

import json
import os
import re
import sys
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

URL = "https://127.0.0.1:8081/"
SOON_MS = 20_000
# The example of the multi-site guide: no other node is needed to see how it is drawn.
SITES = {"sites": [
    {"name": "us-east", "status": "active", "nodes": 2, "latency": 0, "last_sync": "2024-12-01T10:00:00Z"},
    {"name": "us-west", "status": "down", "nodes": 2, "latency": 50, "last_sync": "2024-12-01T10:00:00Z"},
]}


BEHIND = {**SITES["sites"][1], "reason": "silent for 30 s", "priority": 2, "expected_latency": 50, "members": [
    {"name": "w1", "linked": False, "leads": False, "votes": True, "lag_updates": 1234, "lag_secs": 90}]}
# What happened to them: no other node is needed to see how that is told.
SITE_EVENT = {"id": 7, "at": "2024-12-01T10:00:30Z", "kind": "status", "site": "us-west", "node": None, "before": "suspect",
              "now": "down", "blocks": None, "detail": "us-west is down: silent for 30 s"}


class Reader:
    """A reader in a window of their own; whatever goes wrong in it is kept."""

    def __init__(self, browser, shots, **window):
        self.context = browser.new_context(ignore_https_errors=True, **window)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SOON_MS)
        self.shots = shots
        self.wrong = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("console", self.heard)
        self.page.on("response", self.answered)
        # Refusals that belong to what is tested: (status, path).
        self.expected = {(404, "/api/v1/sites/status")}

    def heard(self, message):
        # A refused request is judged by its answer, below.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.wrong.append(f"{message.type}: {message.text}")

    def answered(self, response):
        path = "/" + response.url.removeprefix(URL).split("?")[0]
        if response.status >= 400 and (response.status, path) not in self.expected:
            self.wrong.append(f"{response.status} for {path}")

    def sign_in(self, token):
        self.expected.add((401, "/api/v1/whoami"))
        self.page.goto(URL)
        self.page.get_by_role("textbox", name="Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def find(self, query):
        self.page.get_by_label("Address, prefix, hardware address or part of a host name").fill(query)
        self.page.keyboard.press("Enter")

    def accessible(self, what):
        found = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [(item["id"], item["help"], [node["target"] for node in item["nodes"]][:3])
                   for item in found if item["impact"] in ("serious", "critical")]
        assert not serious, f"axe finds in {what}: {json.dumps(serious, indent=1)}"

    def picture(self, name):
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=True)

    def done(self):
        assert not self.wrong, "\n".join(self.wrong)
        self.context.close()


def turn(word):
    """Tells the test that it is its turn."""
    print(word, flush=True)


def viewer(browser, shots, token):
    reader = Reader(browser, shots, viewport={"width": 1440, "height": 900}, color_scheme="light")
    page = reader.page
    reader.sign_in("sdd_wrong")
    expect(page.locator("#sign-in-problem")).to_contain_text("wrong")
    reader.accessible("the form")
    reader.picture("sign-in")
    page.get_by_role("textbox", name="Token").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#panels")).to_be_visible()
    expect(page.locator("#role")).to_have_text("viewer")
    expect(page.locator("#ready")).to_have_text("Serving")
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("[data-tile=bound] .value")).to_have_text("2")
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(page.locator("#reasons-list")).to_contain_text("not renewal")
    expect(page.locator("#pools-list")).to_contain_text("198.18.1.0 – 198.18.1.255")
    expect(page.locator("#pools-list [role=meter]")).to_have_attribute("aria-valuenow", "0.8")
    expect(page.locator("#events-list")).to_contain_text("web-1")
    expect(page.locator("#sites")).to_be_hidden()

    # What happens now is seen without asking.
    turn("come")
    expect(page.locator("#events-list")).to_contain_text("02:00:00:00:01:03")
    expect(page.locator("[data-tile=bound] .value")).to_have_text("3")
    expect(page.locator("[data-tile=share] .value")).to_contain_text("%")
    expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("in the kernel"))

    # A lease is found by each thing that people know of a client.
    story = page.locator("#story")
    for query in ("02-00-00-00-01-01", "WEB-1", "198.18.1.0/24"):
        reader.find(query)
        row = page.locator("#results tbody tr").filter(has_text="web-1")
        expect(row).to_be_visible()
    address = row.locator("th").inner_text()
    reader.find(address)
    expect(story).to_contain_text("web-1")
    expect(story).to_contain_text("direct")
    expect(story.locator(".holdings")).to_contain_text("web-1")
    reader.find("nobody-has-this-name")
    expect(page.locator("#found")).to_have_text("No lease is known for that.")
    reader.find("")
    expect(page.locator("#results tbody tr")).to_have_count(3)
    reader.accessible("the page by day")
    reader.picture("day")

    # No button, and no way round it.
    expect(story).to_contain_text("takes the role operator")
    expect(page.get_by_role("button", name="Release")).to_have_count(0)
    reader.expected.add((403, f"/api/v1/leases/{address}"))
    status = page.evaluate("""address => fetch(`/api/v1/leases/${address}`, {method: "DELETE",
        headers: {authorization: `Bearer ${sessionStorage.getItem("dhcp-token")}`}}).then(answer => answer.status)""", address)
    assert status == 403, f"the server lets a viewer release: {status}"

    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#panels")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0
    reader.done()
    return address


def operator(browser, shots, token, address):
    """With the keyboard alone, by night."""
    reader = Reader(browser, shots, viewport={"width": 1440, "height": 900}, color_scheme="dark")
    page = reader.page
    reader.sign_in(token)
    expect(page.locator("#role")).to_have_text("operator")
    reader.find(address)
    release = page.get_by_role("button", name="Release…")
    expect(release).to_be_enabled()
    release.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("who is not told")
    reader.accessible("the question")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#story .badge")).to_have_text("bound")

    release.focus()
    page.keyboard.press("Enter")
    yes = page.get_by_role("button", name="Release it")
    page.keyboard.press("Tab")
    expect(yes).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("is being taken back")
    expect(page.locator("#story .badge")).to_have_text("free")
    expect(page.locator("#results .badge")).to_have_text("free")
    expect(release).to_be_disabled()
    expect(page.locator("#events-list li").first).to_contain_text(address)
    expect(page.locator("#story .holdings")).to_contain_text("released")
    reader.accessible("the page by night")
    reader.picture("night")
    reader.done()


def phone(browser, shots, token):
    reader = Reader(browser, shots, viewport={"width": 390, "height": 844}, device_scale_factor=2, color_scheme="light")
    page = reader.page
    page.route("**/api/v1/sites/status", lambda route: route.fulfill(json=SITES))
    page.route("**/api/v1/sites/us-*", lambda route: route.fulfill(json=BEHIND))
    # The first stream is of sites and ends; the page comes back, to the daemon's own.
    told = f"event: site\nid: 7\ndata: {json.dumps(SITE_EVENT)}\n\n"
    page.route("**/api/v1/events?*", lambda route: route.fulfill(content_type="text/event-stream", body=told), times=1)
    reader.sign_in(token)
    expect(page.locator("#sites-list li")).to_have_count(2)
    expect(page.locator("#sites-list li.bad .state")).to_have_text("down")
    expect(page.locator("#sites-list li.bad")).to_contain_text("1,234 updates, 1 min 30 s")
    expect(page.locator("#events-list li.of-sites")).to_contain_text("us-west is down: silent for 30 s")
    expect(page.locator("#live")).to_have_text("Live")
    reader.find("")
    expect(page.locator("#results tbody tr")).to_have_count(2)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"the page is {wide} pixels wider than the phone"
    reader.accessible("the page on a phone")
    reader.picture("phone")
    reader.done()


def main():
    shots = Path(sys.argv[1])
    shots.mkdir(parents=True, exist_ok=True)
    tokens = {role: os.environ[f"TOKEN_{role.upper()}"] for role in ("viewer", "operator")}
    expect.set_options(timeout=SOON_MS)
    with sync_playwright() as playwright:
        # As root there is no sandbox; the namespace has no way out.
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        address = viewer(browser, shots, tokens["viewer"])
        operator(browser, shots, tokens["operator"], address)
        phone(browser, shots, tokens["viewer"])
        browser.close()
    turn("all is well")


main()
