"""Use a trained run: once, for each row of a file, line by line at a terminal, or as a web page."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.arguments import check_arguments
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.checkpoints.weights import checkpoint_of, run_of
from mirage_pl.engine.inputs import list_steps
from mirage_pl.engine.keys import check_keys
from mirage_pl.engine.seams import Piece, Session
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.server import listen, serve
from mirage_pl.engine.sessions.answers import Answers
from mirage_pl.engine.sessions.opening import check_run
from mirage_pl.engine.sessions.requests import Request, read_requests, text_key


def run(cfg: DictConfig) -> list[dict[str, Any]]:
    """Run a session on the inputs and show its output.

    Returns:
        For each use: the inputs as ``given``, the ``text``, and the ``files`` that were written.

    Raises:
        ValueError: a mistake in config, input or checkpoint.
    """
    check_keys(cfg, "infer")
    check_arguments(cfg, "session")
    if cfg.serve and (cfg.file or cfg.loop):
        raise ValueError("serve=true answers clients; leave out file= and loop=true")
    takes = cfg.session.takes
    given = {name: value for name in takes if (value := unwrap(cfg[name])) is not None}
    checkpoint = checkpoint_of(cfg.ckpt)
    out = Path(cfg.out) if cfg.out else run_of(checkpoint) / "inference"
    further = text_key(list_steps(get_class(cfg.session._target_), takes)) if cfg.loop else ""
    answers = None
    if cfg.file:
        settings = {"checkpoint": str(checkpoint), "time": checkpoint.stat().st_mtime, "session": unwrap(cfg.session)}
        answers = Answers(out, read_requests(Path(cfg.file), takes, given), settings)
        if not answers.left:
            return report_answers(answers)
    limits, listener = Limits(**unwrap(cfg.serving)), listen(cfg.port) if cfg.serve else None
    trained = load_trained(cfg.ckpt, cfg.accelerator)
    check_run(cfg.session, trained)
    open_session = partial(instantiate(cfg.session), trained)
    if listener is not None:
        serve(listener, open_session, trained.folder.name, takes, given, limits)
        return []
    session: Session = open_session()
    if answers is not None:
        return answer_file(session, answers, out)
    uses = [] if cfg.loop and further not in given else [show_pieces(session.begin(**given), given, out)]
    if cfg.loop:
        uses += converse(session, further, given, out, begun=bool(uses))
    return uses


def unwrap(value: Any) -> Any:
    """A config value as a plain Python value."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def show_pieces(pieces: Iterable[Piece], given: Mapping[str, Any], out: Path, prefix: str = "") -> dict[str, Any]:
    """Print texts as they come, save other pieces, and print where."""
    texts, files, places = [], [], dict[str, Path]()
    for piece in pieces:
        if piece.kind == "text":
            print(piece.content, end="", flush=True)
            texts.append(piece.content)
        else:
            first, *rest = Path(f"{prefix}{piece.name}").parts
            if first not in places:
                places[first] = find_free(out / first)
            files.append(str(save_piece(piece, places[first].joinpath(*rest))))
    if texts and not texts[-1].endswith("\n"):
        print()
    for file in files:
        print(f"written: {file}")
    return {"given": dict(given), "text": "".join(texts), "files": files}


def find_free(place: Path) -> Path:
    """A file or folder that isn't there yet, with a number from 2 on if it must be: what was written before stays."""
    names = chain([place], (place.with_name(f"{place.stem}-{number}{place.suffix}") for number in count(2)))
    return next(name for name in names if not name.exists())


def save_piece(piece: Piece, file: Path) -> Path:
    """Save a picture, a clip, points, cameras."""
    file.parent.mkdir(parents=True, exist_ok=True)
    piece.content.save(file)
    return file


def answer_file(session: Session, answers: Answers, out: Path) -> list[dict[str, Any]]:
    """Begin anew with each row of a file; rows that are refused are named and skipped.

    Raises:
        ValueError: every row was refused.
    """
    if answers.lines:
        print(f"{len(answers.lines)} row(s) were answered before")
    with answers.writing() as file:
        for request in answers.left:
            print(f"[{request.line}] ", end="")
            answers.add(file, request, use := answer_row(session, request, out))
            if "error" in use:
                print(f"not answered: {use['error']}")
    return report_answers(answers)


def answer_row(session: Session, request: Request, out: Path) -> dict[str, Any]:
    """Answer one row; of one that is refused return the ``error``, with file and line."""
    if request.error:
        return {"error": request.error}
    try:
        return show_pieces(session.begin(**request.given), request.given, out, prefix=f"{request.line}-")
    except ValueError as error:
        return {"error": f"{request.where}: {error}"}


def report_answers(answers: Answers) -> list[dict[str, Any]]:
    """Say where the answers are, and how many rows have none; return the others'.

    Raises:
        ValueError: none has any.
    """
    uses = [line for line in answers.lines if "error" not in line]
    failures = [line["error"] for line in answers.lines if "error" in line]
    if not uses:
        raise ValueError(failures[0])
    print(f"answers: {answers.file}" + (f"; {len(failures)} row(s) not answered" if failures else ""))
    return uses


def converse(session: Session, key: str, given: dict[str, Any], out: Path, begun: bool) -> Iterator[dict[str, Any]]:
    """Answer lines of the terminal one by one; a refused line prints the reason.

    Raises:
        ValueError: before anything was answered, two lines were refused alike, so that no line is what is wrong.
    """
    refusal = ""
    while line := read_line(f"{key}> "):
        try:
            pieces = session.step(**{key: line}) if begun else session.begin(**given | {key: line})
            yield show_pieces(pieces, {key: line}, out)
        except ValueError as error:
            if not begun and str(error) == refusal:
                raise
            refusal = str(error)
            print(f"error: {error}", file=sys.stderr)
        else:
            begun = True


def read_line(ask: str) -> str:
    """Read a line from the terminal; empty at the end of input."""
    try:
        return input(ask if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""
