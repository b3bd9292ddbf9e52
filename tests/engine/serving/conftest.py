"""A server of a chat without a model."""

import io
import json
import shutil
from base64 import b64encode

import httpx
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.engine.serving.echo import LIMITS, served_chat


@pytest.fixture(scope="module")
def server():
    """An echo at an address; tests that share it leave it as they found it."""
    with served_chat() as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """A real browser without a window; while it is open, Playwright's event loop runs in this thread."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def url_of():
    """A ``data:`` URL of an image file's bytes, or of an image that is drawn."""

    def write(content=None, size=(8, 4), kind="png", **options):
        if content is None:
            file = io.BytesIO()
            Image.new("RGB", size, "teal").save(file, kind, **options)
            content = file.getvalue()
        return f"data:image/{kind};base64,{b64encode(content).decode()}"

    return write


@pytest.fixture(scope="module")
def http():
    """A client: one for all, since each takes a while to make."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def post(server, http):
    """Post a chat request; status and JSON."""

    def send(text="one two", content=None, headers=None, **values):
        body = {"model": "echo", "messages": [{"role": "user", "content": content or text}]} | values
        headers = {"Content-Type": "application/json"} | (headers or {})
        answer = http.post(f"{server.address}/v1/chat/completions", content=json.dumps(body), headers=headers)
        return answer.status_code, answer.json()

    send.limits = LIMITS
    return send
