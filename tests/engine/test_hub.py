"""Where the hub is out of reach, what is here is taken, or one line says what to do."""

import pytest

from mirage_pl.engine import hub


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """A hub that isn't there, and an empty cache."""
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("path", ["Qwen/Qwen2.5-VL-7B-Instruct", "/no/such/folder", "models/that/are/not/there"])
@pytest.mark.usefixtures("unreachable")
def test_what_is_nowhere_is_one_line_with_what_to_do(path):
    with pytest.raises(ValueError, match=f"model.path={path} is no folder.*hf download.*HF_HOME"):
        hub.is_only_here(path)


@pytest.mark.usefixtures("unreachable")
def test_what_is_in_the_cache_is_taken_from_it(monkeypatch):
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")
    assert hub.is_only_here("Qwen/Qwen2.5-VL-7B-Instruct")


def test_a_folder_asks_nobody(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "hub_answers", lambda: pytest.fail("asked"))
    assert hub.is_only_here(str(tmp_path))


def test_a_hub_that_answers_is_asked(monkeypatch):
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    assert not hub.is_only_here("Qwen/Qwen2.5-VL-7B-Instruct")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no.such.host.invalid"])
def test_an_address_where_nobody_answers_counts_as_out_of_reach(monkeypatch, endpoint):
    monkeypatch.setattr(hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    hub.hub_answers.cache_clear()
    assert not hub.hub_answers()
    hub.hub_answers.cache_clear()
