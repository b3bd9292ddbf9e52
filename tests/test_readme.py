"""What README and docs tell a reader to type, write or open is there: commands, configs, files and make targets."""

import re
import shlex
import subprocess
from importlib.util import find_spec

import pytest
import yaml
from omegaconf import OmegaConf

from launch.status import parser as status_parser
from mirage_pl.engine.quoting import quote_words
from mirage_pl.engine.reports.options import build_parser as report_parser
from tests.conftest import REPO, compose

HAND = [REPO / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES = {str(page.relative_to(REPO)): page.read_text() for page in [*HAND, *sorted((REPO / "docs").rglob("*.md"))]}
OWN = REPO / "docs" / "start" / "own_project"
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
ROOTS = "assets|benchmarks|callbacks|conf|data_modules|docs|hydra_plugins|integrations|launch|mirage_pl|tests"
FORMS = re.compile(r"[<>…*{}]|NAME|YYYY")
"""In a path that stands for many."""
MAKEFILE = (REPO / "Makefile").read_text()
DEMOS = re.findall(r"^(demo[a-z-]*): setup", MAKEFILE, re.MULTILINE)
MODULES = [file for root in ROOTS.split("|") for file in (REPO / root).rglob("*.py")]


def expand(text):
    """A page with its snippets."""
    return re.sub(r'--8<-- "([^"\n:]+)[^"\n]*"', lambda name: (REPO / name[1]).read_text(), text)


def commands_of(page):
    """Yield the commands of a page, in fences and in running text, without comments."""
    for line in re.findall(r"^ *(python -m [^\n]+)$", page, re.MULTILINE):
        yield re.split(r"\s{2,}|\s#|`", line)[0]
    for text in re.findall(r"`(python -m [^`]+)`", FENCE.sub("", page)):
        yield " ".join(text.split())


COMMANDS = sorted({command for page in PAGES.values() for command in commands_of(page) if "…" not in command})
CONFIGS = {
    title: expand(text)
    for page in PAGES.values()
    for _, head, text in FENCE.findall(page)
    if (title := "".join(re.findall(r'^yaml title="(conf/[^"]+)"', head)))
}
"""Config files that a page has the reader write, by their place."""


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """The override that finds the reader's own config files."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in CONFIGS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return f"hydra.searchpath=[file://{folder}/conf]"


def uses_of(verb, command):
    """What the run that a command names says of its own use, where the command doesn't."""
    group, key = {"infer": ("session", "session"), "evaluate": ("evaluation", "task.evaluation")}.get(verb, ("", ""))
    run = re.search(r"ckpt=runs/[^/ ]+/(\w+)/[^/ ]+/([a-z0-9_]+)-", command)
    if not run or f"{group}=" in command:
        return []
    use = OmegaConf.select(compose("train", f"stage={run[1]}/{run[2]}"), key)
    return [f"{group}={use if isinstance(use, str) else use[0]}"]


def check_command(command, searched):
    """Do as the command line would, up to the first thing that takes time."""
    _, _, module, *words = shlex.split(command)
    if module == "mirage_pl.report":
        report_parser().parse_args(words)
    elif (module, words[:1]) == ("launch", ["status"]):
        status_parser().parse_args(words[1:] or ["runs"])
    elif module.startswith("mirage_pl.") and module.count(".") == 1 or module == "launch":
        config = "plan" if words[:1] == ["plan"] else module.removeprefix("mirage_pl.")
        overrides = [word for word in words if word not in ("-m", "plan", "--help", "--cfg", "job")]
        overrides = [word.replace("logger=null", "logger=[]") for word in overrides if "interval(" not in word]
        first = [word if re.search(r"[[{(\"]", word) else word.split(",")[0] for word in overrides]
        texts = [f'{word.split("=", 1)[0]}="…"' if word.startswith("prompt=") else word for word in first]
        typed = quote_words(texts, (), swept=bool({"-m", "--multirun"} & set(words)))
        assert compose(
            config, *uses_of(config, command), *typed, *([] if "hydra.searchpath" in command else [searched])
        )
    elif module == "lmms_eval":
        check_harness(dict(zip(words[::2], words[1::2], strict=True)))
    else:
        assert find_spec(module)


def check_harness(options):
    """Read a command of lmms-eval, which needn't be installed: our model, and our tasks where it is told of them."""
    assert options.keys() <= {"--model", "--model_args", "--batch_size", "--tasks", "--include_path"}
    assert options["--model"] != "mirage_pl" or "ckpt=" in options["--model_args"]
    if folder := options.get("--include_path"):
        tasks = [yaml.safe_load(file.read_text().replace("!function", "")) for file in (REPO / folder).glob("*.yaml")]
        assert options["--tasks"] in {task["task"] for task in tasks}


def test_every_command_is_understood(searched):
    assert len(COMMANDS) > 60
    failures = {}
    for command in COMMANDS:
        try:
            check_command(command, searched)
        except (Exception, SystemExit) as error:
            failures[command] = str(error)
    assert not failures


@pytest.mark.parametrize("demo", DEMOS)
def test_a_demo_is_understood_and_each_of_its_commands_finds_the_runs_before_it(demo, searched):
    printed = subprocess.run(["make", "-n", demo], cwd=REPO, capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"-m (mirage_pl\.\w+ .*)", printed)
    runs = set()
    for command in commands:
        check_command(f"python -m {command}", searched)
        verb, *words = shlex.split(command)
        used = set(re.findall(r"\bruns/[^\s\],]+", " ".join(word for word in words if not word.startswith("run_dir="))))
        assert used <= runs, command
        if verb == "mirage_pl.train":
            runs.add(compose("train", *words).run_dir)
    assert len(runs) > 1


def test_every_config_that_a_page_shows_composes(searched):
    assert len(CONFIGS) > 4
    for name in CONFIGS:
        group, _, option = name.removeprefix("conf/").removesuffix(".yaml").partition("/")
        assert compose("train", f"{group}={option}", searched)


def test_a_yaml_block_says_which_file_it_is():
    nameless = [head for page in PAGES.values() for _, head, _ in FENCE.findall(page) if head.startswith("yaml")]
    assert all("title=" in head for head in nameless)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_file_that_a_page_names_exists(name):
    page = FENCE.sub("", PAGES[name])
    paths = set(re.findall(rf"(?<![\w/.-])((?:{ROOTS})/[^\s`),;:\"|]*[\w/>])", page)) - {"data_modules/"}
    missing = {path for path in paths if not FORMS.search(path) and not path.startswith("docs/results/main ")}
    missing = {path for path in missing if not (REPO / path).exists() and path not in CONFIGS}
    files = {file for file in re.findall(r"`([\w/]+\.py)`", page) if not file.startswith(tuple(ROOTS.split("|")))}
    ends = [f"/{file.relative_to(REPO)}" for file in MODULES]
    missing |= {file for file in files if not any(end.endswith(f"/{file}") for end in ends)}
    assert not missing


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = {name for page in PAGES.values() for name in re.findall(r"(?:`|^ *)make ([a-z-]+)", page, re.MULTILINE)}
    assert named <= targets


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_bytes()) <= 6_000


@pytest.mark.slow
def test_the_site_is_built_without_a_broken_link(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    pytest.importorskip("mkdocstrings")
    build(load_config(str(REPO / "mkdocs.yml"), site_dir=str(tmp_path)))
    assert (tmp_path / "reference" / "config.html").is_file()
