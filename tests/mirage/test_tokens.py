"""A token's name in a text is text; ordinary texts are what the stock template makes of them."""

from copy import deepcopy
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AddedToken, PreTrainedTokenizerFast

from data_modules.samples import Latent, Picture, Text
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.stock.find import find_inputs
from mirage_pl.mirage.tokens import encode, encode_question


@pytest.fixture(scope="module")
def talkative(processor):
    """A processor whose tokenizer has two more tokens that aren't special, as Qwen's for tools and for code."""
    processor = deepcopy(processor)
    processor.tokenizer.add_tokens(["<tool_call>", AddedToken("ﬁm", normalized=True)])
    return processor


def names(processor):
    return sorted(processor.tokenizer.get_added_vocab())


def named(parts, name):
    return tuple(Text(f"{name} {part.text}{name}") if isinstance(part, Text) else part for part in parts)


def test_the_name_of_any_added_token_in_a_text_is_tokenized_as_text_and_comes_back(talkative):
    tokenizer, added = talkative.tokenizer, talkative.tokenizer.get_added_vocab()
    assert len(added) == 12
    for name in names(talkative):
        for text in (name, f"say {name} twice: {name}{name}", f"{name[:3]}{name}{name[3:]}", f"\n{name} \n"):
            tokens = encode(tokenizer, text)
            assert not set(tokens) & set(added.values()), text
            assert tokenizer.decode(tokens, skip_special_tokens=True) == text


def test_a_question_has_the_templates_special_tokens_and_no_others_whatever_it_says(talkative):
    tokenizer, added = talkative.tokenizer, talkative.tokenizer.get_added_vocab()

    def special(texts):
        return [token for token in encode_question(find_inputs(talkative), texts) if token in set(added.values())]

    for texts in ((None, "{}"), ("before {}", None, "{} after", None), ("{}",), ("<|im_", "{}", "end|>", None, "{}")):
        ordinary = tuple(text and text.replace("{}", "word").replace("<|im_", "x") for text in texts)
        for name in names(talkative):
            filled = tuple(text and text.replace("{}", name) for text in texts)
            assert special(filled) == special(ordinary), filled
            shown = tokenizer.decode(encode_question(find_inputs(talkative), filled))
            assert (
                "".join(text for text in filled if text)
                in shown.replace("<|vision_start|><|image_pad|><|vision_end|>", "")
                or None in filled
            )
            assert all(text in shown for text in filled if text)


def test_a_name_that_is_cut_between_two_texts_is_text_too(processor):
    whole, cut = ("see <|image_pad|> here", None), ("see <|image", "_pad|> here", None)
    assert encode_question(find_inputs(processor), cut) == encode_question(find_inputs(processor), whole)
    assert encode_question(find_inputs(processor), cut).count(processor.image_token_id) == 1


def test_ordinary_texts_are_tokenized_as_the_stock_template_does(processor):
    tokenizer = processor.tokenizer
    for texts in (
        (None, "What is it?"),
        ("  two\n\nlines ", None, "\ttabs, Ünïcode, 漢字, 🙂 and {{ braces }}"),
        ("< | im_end | >", "<image> <|", None, "|>", None),
        ("e\u0301 isn't é", None),
        ("",),
    ):
        content = [{"type": "image"} if text is None else {"type": "text", "text": text} for text in texts]
        chat = [{"role": "user", "content": content}]
        stock = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert (
            list(encode_question(find_inputs(processor), texts))
            == tokenizer(stock, add_special_tokens=False)["input_ids"]
        )
        for text in filter(None, texts):
            assert list(encode(tokenizer, text)) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_words_around_a_name_are_tokenized_as_they_are_without_it(processor):
    # what lies between two special tokens of the template is one piece of text, as the tokenizer sees it
    tokenizer, text = processor.tokenizer, "Read the map. <|im_end|> Read the path."
    tokens = list(encode_question(find_inputs(processor), (text, None)))
    start = tokenizer("<|im_start|>user\nRead the map. ", add_special_tokens=False)["input_ids"][:-1]
    assert tokens[: len(start)] == start
    assert tokenizer.decode(tokens).startswith(f"<|im_start|>user\n{text}<|vision_start|>")


def test_a_row_that_names_tokens_trains_and_is_asked_like_any_other(processor, samples):
    collator = Collator(processor, 4, latents=True, helpers=True)
    for name in names(processor):
        row = replace(samples[0], question=named(samples[0].question, name), answer=named(samples[0].answer, name))
        batch = collator([row, samples[1]])
        assert batch.sizes == ((4,), (4,))
        tokens = batch.tokens_BT[0][batch.real_BT[0]].tolist()
        assert tokens.count(collator.end) == 2  # of the question and of the answer
        assert tokens[-1] == collator.end
        assert len(tokens) == sum(collator.widths(row)) == batch.lengths[0]
        prompt = collator.prompts([row])
        asked = prompt.tokens_BT[0].tolist()
        assert asked == tokens[: len(asked)]
        assert collator.problem(row) is None
        written = [token for token in tokens[len(asked) : -1] if token not in (collator.latent_pad,)]
        shown = Decoder(processor, 4).tokenizer.decode(written, skip_special_tokens=True)
        assert shown == row.answer_text


def word_level(normalizer=None, **options):
    """A tokenizer that knows a name as an ordinary word as well, so that it can't be written in another way."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "see": 1, "<stop>": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if normalizer:
        words.normalizer = normalizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    tokenizer.add_tokens([AddedToken("<stop>", **options)])
    return tokenizer


def test_a_name_that_can_only_be_the_token_is_refused(processor, samples):
    with pytest.raises(ValueError, match="text names the token <stop>, which this tokenizer can't write as text"):
        encode(word_level(special=True), "see <stop>")
    tokenizer = word_level(normalizers.Lowercase(), special=True, normalized=True)
    with pytest.raises(ValueError, match="<stop>"):  # by another spelling
        encode(tokenizer, "see <STOP>")
    assert encode(tokenizer, "see") == (1,)


def test_an_added_token_that_is_one_of_the_tokenizers_own_words_is_a_word():
    assert encode(word_level(), "see <stop>") == (1, 2)


def test_a_question_that_cannot_be_written_is_named_with_its_row(processor, samples, monkeypatch):
    row = replace(samples[0], question=(Picture(samples[0].question[0].path), Text("<|im_end|>")))
    monkeypatch.setattr("mirage_pl.mirage.tokens.plain", lambda tokenizer: tokenizer.backend_tokenizer)
    collator = Collator(deepcopy(processor), 1, latents=True, helpers=False)
    for refuse in (lambda: collator([row]), lambda: collator.prompts([row]), lambda: collator.widths(row)):
        with pytest.raises(ValueError, match=rf"^{row.where}: text names the token <\|im_end\|>"):
            refuse()
    assert "names the token" in collator.problem(row)
    assert isinstance(samples[0].answer[0], Latent)


def test_an_answer_begins_after_no_thoughts_where_a_template_leaves_the_choice(processor):
    """As Qwen3.5's: without the choice, an answer would begin within ``<think>``."""
    processor = deepcopy(processor)
    processor.chat_template += (
        "{% if add_generation_prompt %}{% if enable_thinking is defined and enable_thinking is false %}"
        "{{ '<think>\n\n</think>\n\n' }}{% else %}{{ '<think>\n' }}{% endif %}{% endif %}"
    )
    for text in ("Which way?", "Which <|im_end|> way?"):
        question = processor.tokenizer.decode(encode_question(find_inputs(processor), (text,)))
        assert question.endswith(f"{text}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
