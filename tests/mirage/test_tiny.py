"""The backbone that ships: small, rebuilt by a command, and it sees."""

import json

from data_modules.vsp.reading import Reading
from mirage_pl.mirage.batch import LATENT_TOKENS
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.model.compression import Average
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Sequential
from mirage_pl.mirage.tiny import SPECIAL, TEXT, VISION, build_tokenizer
from tests.conftest import REPO

TINY = REPO / "assets" / "tiny"


def test_the_shipped_weights_are_one_file_of_at_most_8_megabytes():
    files = list(TINY.glob("*.safetensors"))
    assert len(files) == 1
    assert files[0].stat().st_size <= 8_000_000


def test_the_backbone_has_the_number_of_parameters_that_the_docs_say():
    parameters = sum(parameter.numel() for parameter in load_backbone(str(TINY)).parameters())
    assert f"{parameters:,} parameters" in (REPO / "docs/start/demo.md").read_text()


def test_the_shipped_tokenizer_and_architecture_are_what_the_command_builds(processor):
    shipped = dict(processor.tokenizer.get_vocab())
    assert [shipped.pop(token) for token in LATENT_TOKENS] == [len(shipped) + i for i in range(3)]
    assert shipped == build_tokenizer().get_vocab()
    config = json.loads((TINY / "config.json").read_text())
    assert {key: config["text_config"][key] for key in TEXT if key != "tie_word_embeddings"} == {
        key: value for key, value in TEXT.items() if key != "tie_word_embeddings"
    }
    assert {key: config["vision_config"][key] for key in VISION} == VISION


def test_words_of_our_tasks_are_one_token_and_any_text_survives(processor):
    tokenizer = processor.tokenizer
    for word in (" ice", " hole", " start", " goal", " UP", " LEFT", " RIGHT", " DOWN", " /"):
        assert len(tokenizer(word)["input_ids"]) == 1
    text = "Füße, 漢字 and\ttabs\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert all(len(tokenizer(token)["input_ids"]) == 1 for token in (*SPECIAL, *LATENT_TOKENS))


def test_the_shipped_backbone_reads_every_cell_of_unseen_mazes_and_helper_images(data, processor):
    rows = Reading({"map": "Read the map.", "path": "Read the path."}).read(data / "vsp-28px" / "test.jsonl")
    samples = [rows[index] for index in range(len(rows))]
    net = LatentVLM(load_backbone(str(TINY)).eval(), Average(), Sequential())
    prompts = Collator(processor, 4, latents=False, helpers=False).prompts(samples)
    texts = Decoder(processor, 4)(net, prompts, Decoding(64)).texts
    cells = [text.split(" ; ")[0].split() for text in texts]
    assert cells == [sample.answer_text.split(" ; ")[0].split() for sample in samples]
