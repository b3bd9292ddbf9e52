"""What is typed is what a verb gets."""

import sys
from random import Random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mirage_pl.engine.quoting import quote_text, quote_words
from mirage_pl.engine.sessions import words as infer_words
from tests.conftest import REPO

TEXTS = [
    "Is it a cat, or a dog?",
    "What's in the box?",
    "a=b",
    "{braces} [brackets] (parentheses)",
    "costs ${price} or $5",
    "naïve 漢字 🙂",
    "'quoted'",
    '"quoted"',
    "2024",
    "1e3",
    "true",
    "",
    " spaces ",
    "two\nlines",
    "\\boxed{A}\\",
    "a: b",
    "~/x",
    "# no comment",
    "(FN)(FN)(fRL)",
]


def taken(word):
    """The value that a config gets of an override."""
    override = OverridesParser.create().parse_override(word)
    config = OmegaConf.create({"prompt": None, "image": None})
    OmegaConf.update(config, override.key_or_group, override.value())
    return config[override.key_or_group]


def test_free_text_is_taken_as_it_is_typed():
    for text in TEXTS:
        (word,) = quote_words([f"prompt={text}"], {"prompt"}, swept=False)
        assert taken(word) == text


def test_any_text_survives_quoting():
    draw = Random(0)
    for _ in range(3000):
        text = "".join(draw.choice("a '\"\\${}[](),=:!@é漢\n\t%#&*~0") for _ in range(draw.randint(0, 7)))
        assert taken(f"prompt={quote_text(text)}") == text


def test_null_alone_is_no_text():
    assert quote_words(["prompt=null"], {"prompt"}, swept=False) == ["prompt=null"]


def test_what_is_no_grammar_of_hydras_is_text_under_any_key():
    for path in ("my photo (1).png", "it's.png", "a,b.png", "epoch=3-step=5.ckpt", "[half.png"):
        (word,) = quote_words([f"image={path}"], (), swept=False)
        assert taken(word) == path


def test_what_hydra_understands_stays_as_it_is():
    words = ["image=[a.png,b.png]", "seed=1", "evaluate={}", "+x=null", "~y", "--cfg", "job", "stage@_global_=sft"]
    assert quote_words(words, (), swept=False) == words


def test_commas_separate_the_points_of_a_sweep_and_only_there():
    assert quote_words(["latent_size=2,4"], (), swept=True) == ["latent_size=2,4"]
    assert quote_words(["ckpt=runs/a,b"], (), swept=False) == ["ckpt='runs/a,b'"]


def test_infer_takes_the_session_that_the_run_names(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("session: predict\n")
    for ckpt in (tmp_path, tmp_path / "checkpoints" / "last.ckpt"):
        assert infer_words.prepare_words([f"ckpt={ckpt}", "image=x"]) == [
            f"ckpt={ckpt}",
            "image=x",
            "session=predict",
        ]
    assert infer_words.prepare_words([f"ckpt={tmp_path}", "session=own"]) == [f"ckpt={tmp_path}", "session=own"]
    assert infer_words.prepare_words(["ckpt=nowhere"]) == ["ckpt=nowhere"]


def test_texts_of_a_users_own_sessions_are_free_too(tmp_path):
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "drive.yaml").write_text("session: {takes: {road: text, speed: number}}\n")
    words = ["--config-dir", str(tmp_path), "session=drive", "road=a, b", "speed=3"]
    assert infer_words.prepare_words(words) == [*words[:3], "road='a, b'", "speed=3"]


@pytest.mark.parametrize("prompt", ["Is it a cat, or a dog?", "2024", "What's {this}?"])
def test_the_command_infer_hands_over_what_was_typed(prompt, monkeypatch):
    from mirage_pl import infer
    from mirage_pl.engine.sessions import infer as engine

    monkeypatch.chdir(REPO)
    given = []
    monkeypatch.setattr(engine, "run", lambda cfg: given.append((cfg.prompt, cfg.image)))
    monkeypatch.setattr(sys, "argv", ["infer", "ckpt=nowhere", f"prompt={prompt}", "image=my photo (1).png"])
    infer.main()
    assert given == [(prompt, "my photo (1).png")]
