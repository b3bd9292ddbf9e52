"""A page to walk in: what its session shows of the imagined and the real world, and its keys in a real browser."""

import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from playwright.sync_api import expect

from data_modules.worlds.walking import ACTIONS
from mirage_pl.deepverse.sessions.play import Play
from mirage_pl.deepverse.sessions.real import RealWalk
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.serving.app import build_forms
from mirage_pl.engine.serving.forms import Sessions
from mirage_pl.engine.serving.page import Paged, write_own
from tests.conftest import compose
from tests.engine.serving.conftest import browser  # noqa: F401  a fixture
from tests.engine.serving.echo import LIMITS, served

SIDE = 16


@pytest.fixture(scope="module")
def opened(run_of_world):
    """What opens a session of a run that has hardly learnt."""
    cfg = compose("infer", f"ckpt={run_of_world}/world", "session=deepverse/play", "steps=1", "rate=40")
    return partial(instantiate(cfg.session), load_trained(run_of_world / "world"))


def take(pieces):
    """The facts, and the rows of frames, of what a session shows: [rows, T, 16, 16, 3]."""
    text, picture = pieces
    pixels = np.asarray(picture.content)
    assert picture.name == "unit.png"
    rows = pixels.reshape(len(pixels) // SIDE, SIDE, -1, SIDE, 3).transpose(0, 2, 1, 3, 4)
    return json.loads(text.content), rows


def test_the_simulator_does_what_the_imagined_walk_does(opened):
    session, config = opened(), opened().trained.config
    facts, rows = take(session.begin(place=1))
    assert rows.shape == (4, 1, SIDE, SIDE, 3)
    assert (facts["units"], facts["reminded"], facts["real"]) == (0, None, [0, 0, 0])
    world = instantiate(config.task.world)()
    world.reset((config.task.maps + 1) % (config.task.maps + config.task.new_maps), np.random.default_rng([1, 3]))
    np.testing.assert_array_equal(rows[2, 0], world.look().frame_HWC)
    begun = world.pose
    facts, rows = take(session.step("(FR)"))
    assert rows.shape == (4, 4, SIDE, SIDE, 3)
    for frame in range(4):
        world.step(ACTIONS["FR"])
        np.testing.assert_array_equal(rows[2, frame], world.look().frame_HWC)
    there = np.linalg.inv(begun) @ world.pose
    assert facts["real"] == pytest.approx([there[0, 3], there[2, 3], 18], abs=2e-3)
    shown = torch.from_numpy(rows[0, -1] / 255.0)
    error = (shown - torch.from_numpy(rows[2, -1] / 255.0)).square().mean()
    assert facts["alike"] == pytest.approx(float(-10 * (error + 1e-8).log10()), abs=0.2)
    assert facts["units"] == 1
    nearest = rows[3].max()
    assert nearest == 255 or world.look().depth_HW.min() > session.real.nearest


def test_who_imagines_anew_begins_from_what_the_simulator_shows(opened):
    session = opened()
    list(session.begin())
    list(session.step("(SR)(SR)"))
    seen = session.real.views[-1].frame_HWC
    facts, rows = take(session.step())
    assert (facts["units"], facts["real"], rows.shape[1]) == (0, [0, 0, 0], 1)
    np.testing.assert_array_equal(rows[2, 0], seen)


def test_a_picture_has_no_real_world_and_what_is_wrong_is_said(opened, tmp_path):
    session = opened()
    with pytest.raises(ValueError, match="begin first"):
        list(session.step("(FN)"))
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "room.png")
    _, rows = take(session.begin(image=str(tmp_path / "room.png")))
    assert rows.shape == (2, 1, SIDE, SIDE, 3)
    assert len(take(session.step("(FN)(SL)"))[1][0]) == 8
    assert len(list(session.begin(image=str(tmp_path / "room.png"), actions="(FN)"))) == 4
    with pytest.raises(ValueError, match="no simulator"):
        list(session.step())
    with pytest.raises(ValueError, match="place=-1"):
        list(session.begin(place=-1))
    with pytest.raises(ValueError, match=r"\(XN\)"):
        list(session.step("(XN)"))
    config = session.trained.config.copy()
    config.task.hold = None
    assert not RealWalk.is_there(config)
    with pytest.raises(ValueError, match="no simulator to walk in; give image"):
        RealWalk.open(config, 0)


@pytest.fixture
def page(opened, browser, tmp_path):  # noqa: F811
    """The page in a browser; whatever it complains of fails the test."""
    session = opened()
    assert isinstance(session, Paged)
    sessions = Sessions(opened, session.takes, {}, tmp_path)
    with served(build_forms(sessions, LIMITS, write_own(session, "walk <b>"))) as address:
        page, complaints = browser.new_page(viewport={"width": 1000, "height": 700}), []
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        expect(page.locator("#status")).to_contain_text("0 steps")
        yield page
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        page.close()
        assert complaints == []


PIXELS = "id => [...document.getElementById(id).getContext('2d').getImageData(80, 80, 4, 4).data].join()"


def test_arrow_keys_walk_and_one_key_shows_the_real_world(page):
    expect(page.get_by_role("heading")).to_contain_text("walk <b>")
    before = page.evaluate(PIXELS, "colours")
    page.keyboard.down("ArrowUp")
    page.keyboard.down("ArrowRight")
    expect(page.get_by_label("Ahead")).to_have_class("lit")
    expect(page.get_by_label("Turn right")).to_have_class("lit")
    expect(page.get_by_label("Back")).not_to_have_class("lit")
    expect(page.locator("#status")).to_contain_text(re.compile(r"\b([2-9]|\d\d+) steps"))  # each takes 10 ms
    page.keyboard.up("ArrowUp")
    page.keyboard.up("ArrowRight")
    expect(page.locator(".lit")).to_have_count(0)
    page.wait_for_timeout(500)  # of a step that was asked for before
    assert page.evaluate(PIXELS, "colours") != before
    imagined = page.evaluate(PIXELS, "colours"), page.evaluate(PIXELS, "depth")
    page.keyboard.press(" ")
    expect(page.locator("#world")).to_have_text("real")
    assert page.evaluate(PIXELS, "colours") != imagined[0]
    page.keyboard.press(" ")
    expect(page.locator("#world")).to_have_text("imagined")
    assert (page.evaluate(PIXELS, "colours"), page.evaluate(PIXELS, "depth")) == imagined


def test_buttons_walk_as_keys_do_and_begin_elsewhere_or_with_a_picture(page, tmp_path):
    page.get_by_label("Step left").click()
    expect(page.locator("#status")).to_contain_text("1 step ·")
    page.get_by_role("button", name="Imagine anew").click()
    expect(page.locator("#status")).to_contain_text("0 steps")
    page.get_by_role("button", name="Show the real world").click()
    before = page.evaluate(PIXELS, "colours")
    with page.expect_response("**/files/*"):
        page.keyboard.press("n")
    for _ in range(50):
        if page.evaluate(PIXELS, "colours") != before:
            break
        page.wait_for_timeout(100)
    assert page.evaluate(PIXELS, "colours") != before
    expect(page.locator("#world")).to_have_text("real")
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "room.png")
    page.locator("#picture").set_input_files(tmp_path / "room.png")
    expect(page.get_by_role("button", name="Show the")).to_be_hidden()
    expect(page.locator("#world")).to_have_text("imagined")
    page.keyboard.press("a")
    expect(page.locator("#problem")).to_have_text("")


def test_the_page_of_a_run_is_the_sessions_own(opened):
    page = write_own(opened(), "a run")
    assert '"height": 16' in page.html
    assert "#pad" in page.css
    assert "--ground" in page.css
    assert "ArrowUp" in page.script
    assert Play.page.with_suffix(".html").is_file()
