"""The page in a real browser: asked by keyboard and mouse, wide and narrow, light and dark."""

import io
import os
from base64 import b64encode
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.engine.serving.echo import Echo, served_chat

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 340, "height": 640}
SHOTS = os.environ.get("SHOTS")
"""Folder for screenshots, for who wants to look at them."""


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def page(request, browser, server):
    """The chat's page; whatever it asks of others, or complains of, fails the test."""
    context = browser.new_context(viewport=request.param)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.address)
    yield page
    scrolled = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    shoot(page, f"{request.node.name}.png")
    context.close()
    assert [url for url in asked if not url.startswith((server.address, "data:", "blob:"))] == []
    assert [line for line in complaints if "400 (Bad Request)" not in line] == []
    assert scrolled == 0, "nothing is wider than the window"


def shoot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / name, full_page=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two image files."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, color in (("first.png", "teal"), ("second.png", "gold")):
        Image.new("RGB", (240, 160), color).save(folder / name)
    return [str(folder / name) for name in ("first.png", "second.png")]


def question(page):
    return page.get_by_label("Question", exact=True)


def ask(page, text):
    question(page).fill(text)
    question(page).press("Enter")
    expect(page.locator(".facts").last).to_be_visible()


def test_enter_asks_and_the_answer_is_told_with_its_tokens(page):
    expect(question(page)).to_be_focused()
    ask(page, "one <b>two</b> three")
    expect(page.locator(".question p")).to_have_text("one <b>two</b> three")
    expect(page.locator(".answer")).to_have_text("one <b>two</b> three ")
    expect(page.locator(".facts")).to_contain_text("3 tokens read, 3 written")
    expect(question(page)).to_have_value("")
    expect(question(page)).to_be_focused()


def test_shift_and_enter_begin_a_line(page):
    question(page).type("one")
    question(page).press("Shift+Enter")
    question(page).type("two")
    question(page).press("Enter")
    expect(page.locator(".question p")).to_have_text("one\ntwo", use_inner_text=True)


def test_marks_stand_in_the_answer_and_show_where_they_look_and_how_they_read(page, pictures):
    page.set_input_files("#files", pictures)
    expect(page.locator("#images img")).to_have_count(2)
    ask(page, "look")
    marks = page.locator(".answer .mark")
    expect(marks).to_have_text(["place 1", "place 2"])
    expect(marks.nth(0)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("figure canvas")).to_have_count(2)
    panel = page.locator(".panel")
    expect(panel).to_contain_text("norm 1.00; 140 % of its attention is on images, at most 40 % in one place")
    expect(panel.locator("li").nth(0)).to_contain_text('"up <b>"')
    expect(panel.locator("li").nth(0)).to_contain_text("70 %")
    pixels = page.evaluate("[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 3, 2).data]")
    alphas = pixels[3::4]
    assert alphas.index(max(alphas)) == 4, "the strongest place is the middle of the second row"
    assert alphas[1] == 0
    marks.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(marks.nth(1)).to_be_focused()
    expect(panel).to_contain_text("norm 2.00")
    page.keyboard.press("Enter")
    expect(panel).to_be_hidden()
    expect(page.locator("figure canvas")).to_have_count(0)


def test_images_are_pasted_dropped_and_taken_away(page, server):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "coral").save(file, "png")
    give = """([event, kind, content]) => {
        const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], kind + ".png", {type: "image/png"}));
        const options = {bubbles: true, cancelable: true};
        const made = event === "paste" ? new ClipboardEvent(event, {...options, clipboardData: data})
                                       : new DragEvent(event, {...options, dataTransfer: data});
        document.getElementById("question").dispatchEvent(made);
    }"""
    content = b64encode(file.getvalue()).decode()
    page.evaluate(give, ["paste", "pasted", content])
    expect(page.locator("#images img")).to_have_count(1)
    page.evaluate(give, ["dragenter", "dropped", content])
    expect(page.locator("#drop")).to_be_visible()
    page.evaluate(give, ["drop", "dropped", content])
    expect(page.locator("#images img")).to_have_count(2)
    expect(page.locator("#drop")).to_be_hidden()
    page.evaluate(give, ["drop", "third", content])
    expect(page.get_by_role("alert")).to_have_text("at most 2 images are taken")
    page.get_by_label("Remove pasted.png").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#images img")).to_have_count(1)
    ask(page, "size")
    expect(page.locator(".answer")).to_contain_text("size 60x40")


def test_escape_stops_an_answer_and_its_place_is_free_again(page, server):
    question(page).fill("stick")
    question(page).press("Enter")
    expect(page.locator(".answer")).to_contain_text("stick stick")
    expect(page.get_by_role("button", name="Ask")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.locator("article .error")).to_have_text("stopped")
    ask(page, "next")
    expect(page.locator(".answer").last).to_have_text("next ")


def test_options_reach_the_model(page):
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Most tokens").fill("2")
    ask(page, "one two three")
    expect(page.locator(".answer")).to_have_text("one two ")
    expect(page.locator(".facts")).to_contain_text("cut at the most tokens")


def test_a_refusal_is_shown(page):
    ask(page, "refuse")
    expect(page.get_by_role("alert").last).to_have_text("refuse is a word that can't be asked")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("article")).to_have_count(0)


def test_long_words_wrap(page):
    ask(page, "w" * 400)
    expect(page.locator(".answer")).to_contain_text("www")


def test_a_dark_window_is_dark(browser, server):
    shades = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport=WIDE, color_scheme=scheme)
        page.goto(server.address)
        colors = "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
        shades[scheme] = [sum(map(int, value[4:-1].split(","))) for value in page.evaluate(colors)]
        shoot(page, f"{scheme}.png")
        page.close()
    assert shades["light"][0] > 700 > 200 > shades["light"][1]
    assert shades["dark"][0] < 200 < 600 < shades["dark"][1]


def test_a_server_that_is_gone_is_said_to_be(browser):
    chat = Echo()
    with served_chat(chat) as server:
        page = browser.new_page(viewport=WIDE)
        page.goto(server.address)
    ask(page, "anybody")
    expect(page.locator("article .error")).to_have_text("the server doesn't answer")
    page.close()
