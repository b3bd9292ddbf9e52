"""A task of ours as one of lmms-eval: its rows, its questions, its grades.

A YAML names it, ``class: !function integrations.lmms_eval.task.Rows``, and gives it the words of ``python -m
mirage_pl.data``: ``dataset_kwargs: {task: vsp, overrides: []}``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, DatasetDict
from lmms_eval.api.task import ConfigurableMessagesTask

from data_modules.samples import Sample, Text
from integrations.lmms_eval.messages import write_messages
from mirage_pl.engine.cli import compose, prepare_words
from mirage_pl.engine.evaluation.answers import measure_answer
from mirage_pl.engine.evaluation.test_set import open_split

SPLIT = "test"


class Rows(ConfigurableMessagesTask):
    """The test split of a task.

    Args:
        config: of the YAML.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        ours = {"process_results": self.grade, "doc_to_messages": self.show, "doc_to_text": self.ask}
        given = {key: value for key, value in config.items() if key != "class"}
        super().__init__(config={"test_split": SPLIT, "doc_to_target": "answer", **given, **ours})

    def download(self, dataset_kwargs: Mapping[str, Any] | None = None) -> None:
        """Read the rows, and make them first where they are generated and missing.

        Raises:
            ValueError: no such task, or a bad file or row.
        """
        options = dataset_kwargs or {}
        words = [f"task={options['task']}", *options.get("overrides", ())]
        self.rows = open_split(compose("data", prepare_words(words)).task, None).datasets[SPLIT]
        samples: list[Sample] = [self.rows[index] for index in range(len(self.rows))]
        docs = [
            {"index": index, "where": sample.where, "group": self.rows.group(sample), "answer": sample.answer_text}
            for index, sample in enumerate(samples)
        ]
        self.dataset = self.dataset_no_image = DatasetDict({SPLIT: Dataset.from_list(docs)})

    def show(self, doc: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The question as messages."""
        return write_messages(self.rows[doc["index"]])

    def ask(self, doc: Mapping[str, Any]) -> str:
        """The question's texts."""
        return "".join(part.text for part in self.rows[doc["index"]].question if isinstance(part, Text))

    def grade(self, doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
        """Grade an answer as ``evaluate`` does; nothing where the row holds no truth."""
        values = measure_answer(self.rows.grade(self.rows[doc["index"]], results[0]))
        return {name: float(value) for name, value in values.items() if value is not None}
