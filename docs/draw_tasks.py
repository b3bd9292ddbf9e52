"""Draw ``docs/tasks.png``, a question of each tracking task: ``make pictures``, or ``python -m docs.draw_tasks``.

Questions are made as the task makes them, with its own words, of :data:`STEPS` steps. Coordinates are as in
``docs.draw_method``.
"""

from pathlib import Path
from textwrap import wrap

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import mirage_pl.engine.cli  # noqa: F401  registers the resolvers
from data_modules.tracking.maker import Question, Questions
from data_modules.tracking.puzzle import follow
from docs.draw_method import HELPER, INK, TARGET, TOKEN, WIDTH, Sheet

TASKS, STEPS, DRAWN = ("swaps", "sliding", "walker", "die", "folding"), 4, 60
"""Tasks from above to below, steps of a question, and of how many questions one is shown."""
MARGIN, SIDE, GAP = 16, 90, 70
"""Pixels at each edge of the page, of a picture, and between two for an arrow with its step."""
TOP, ROW, LETTERS = 44, 158, 150
"""Pixels above the first task, of a task, and letters in a line of a question."""
COLUMNS = [MARGIN + SIDE / 2 + number * (SIDE + GAP) for number in range(STEPS + 1)]
"""Middles of the pictures."""
ANSWER = WIDTH - MARGIN - 40


def make_questions(task: str) -> tuple[Questions, Question]:
    """A task's maker, and of some questions the one with the most different steps, boards and answers on the way."""
    changes = [f"task={task}", f"task.steps=[{STEPS}]", f"task.rows={{test: {DRAWN}, val: 1, train: 1}}"]
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        made: Questions = instantiate(compose("data", changes).task.data.maker)

    def count_events(question: Question) -> int:
        boards = {question.places, *follow(made.puzzle, question.places, question.steps)}
        return len(set(question.steps)) + len(boards) + len(set(map(made.puzzle.answer, boards)))

    return made, max((plan.content for plan in made.plans()), key=count_events)


def draw_task(sheet: Sheet, y: float, task: str) -> None:
    """Draw a task's name, question, pictures, steps and answer, all below ``y``."""
    made, question = make_questions(task)
    puzzle = made.puzzle
    boards = [question.places, *follow(puzzle, question.places, question.steps)]
    sheet.text(MARGIN, y, task, 11, align="left")
    asked = wrap(made.fill_prompt(question).removeprefix("<image>"), LETTERS)
    for number, line in enumerate(asked):
        sheet.text(MARGIN + 72, y + 13 * number, line, 7.6, INK, "left")
    middle = y + 32 + SIDE / 2
    for x, board in zip(COLUMNS, boards, strict=True):
        sheet.picture(puzzle.draw(board, 60), x, middle, SIDE, 1)
    for x, step in zip(COLUMNS, question.steps, strict=False):
        sheet.arrow(x + SIDE / 2 + 5, middle, x + SIDE / 2 + GAP - 5, middle)
        sheet.text(x + (SIDE + GAP) / 2, middle - 10, puzzle.write(step), 8.4)
    sheet.arrow(COLUMNS[-1] + SIDE / 2 + 5, middle, ANSWER - 45, middle)
    sheet.box(ANSWER, middle, 80, 30, f"\\boxed{{{puzzle.answer(boards[-1])}}}", TARGET, 8.6)


def main(file: Path) -> None:
    """Draw the whole picture."""
    sheet = Sheet(WIDTH, TOP + ROW * len(TASKS) - 12)
    ends = ((COLUMNS[0], TOKEN, "image"), (ANSWER, TARGET, "answer"))
    helpers = [(x, HELPER, f"helper image {number}") for number, x in enumerate(COLUMNS[1:], start=1)]
    for x, color, words in (*ends, *helpers):
        sheet.box(x, MARGIN + 6, 80 if color is TARGET else SIDE, 20, words, color, 8)
    for number, task in enumerate(TASKS):
        line = TOP + ROW * number
        sheet.arrow(MARGIN, line - 6, WIDTH - MARGIN, line - 6, "#d8dbe2", "-")
        draw_task(sheet, line + 8, task)
    sheet.save(file)
    print(f"picture of the tracking tasks: {file}")


if __name__ == "__main__":
    main(Path(__file__).with_name("tasks.png"))
