"""The server with many clients against one: ``python -m benchmarks.serving``; ``--requests``, ``--soak``, ``--json``.

The tiny model with random weights answers in a process of its own, on the CPU: 64 tokens about an image of 84 × 84
pixels and a question, no two of which are the same. The clients are in this process. ``speedup`` is answers a second
with 50 requests at a time over those with one, the same requests in turns; ``lost`` counts requests without an answer,
or with another than alone. Then ``--soak`` requests, 50 at a time: ``rss_200`` and ``rss`` are the MiB of memory that
the server holds after 200 of them and at the end.
"""

import argparse
import asyncio
import io
import json
import multiprocessing
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any

AT_ONCE, TOKENS = 50, 64


def serve_tiny(found: Connection) -> None:
    """Serve the tiny model; tell the port."""
    import torch

    from benchmarks.workload import TINY, Workload
    from mirage_pl.engine.serving.app import build_chat
    from mirage_pl.engine.serving.server import Server, listen
    from mirage_pl.mirage.chat import Asked, Together, ask
    from mirage_pl.mirage.collator import Collator
    from mirage_pl.mirage.decoding.sampling import Decoding

    work = Workload("tiny", "cpu", torch.float32)
    module = SimpleNamespace(net=work.net().eval(), decoder=work.decoder())
    collate = Collator(work.processor, 4, latents=True, helpers=False)

    class Tiny:
        takes, longest, own_prompt = {"prompt": "text"}, 4096, ""

        def prepare(self, question: Any) -> Asked:
            return ask(question, collate, "", Decoding(TOKENS), self.longest)

        def answer(self, prompts: Sequence[Asked]) -> Together:
            return Together(module, collate, prompts)

    app, batcher = build_chat(Tiny(), TINY.name, replace(read_limits(), seconds=600))  # type: ignore[arg-type]
    listener = listen(0)
    found.send(listener.getsockname()[1])
    Server(app, batcher.stop).run([listener])


def read_limits() -> Any:
    """The limits of the config."""
    from omegaconf import OmegaConf

    from mirage_pl.engine.place import CONF
    from mirage_pl.engine.serving.limits import Limits

    return Limits(**OmegaConf.to_container(OmegaConf.load(CONF / "infer.yaml").serving))  # type: ignore[arg-type]


def draw_requests(count: int, seed: int) -> list[dict[str, Any]]:
    """Make different requests."""
    from PIL import Image

    random, requests = Random(seed), []
    for number in range(count):
        file = io.BytesIO()
        Image.frombytes("RGB", (12, 12), random.randbytes(432)).resize((84, 84)).save(file, "png")
        url = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
        text = f"{seed}, {number}: " + "where to? " * random.randint(1, 6)
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        options = {"temperature": 1.0, "seed": number} if number % 2 else {}
        requests.append({"model": "tiny", "messages": [{"role": "user", "content": parts}], **options})
    return requests


async def ask_all(port: int, requests: Sequence[dict[str, Any]], at_once: int) -> list[str | None]:
    """Send requests, so many at a time; the answers, ``None`` of one that was lost."""
    import httpx

    places = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(timeout=600, trust_env=False, limits=limits) as http:

        async def ask(request: dict[str, Any]) -> str | None:
            async with places:
                answer = await http.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=request)
            if answer.status_code != 200:
                return None
            return str(answer.json()["choices"][0]["message"]["content"])

        return await asyncio.gather(*map(ask, requests))


def read_memory(pid: int) -> float:
    """MiB of memory that a process holds."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def measure(count: int, repeats: int, soak: int) -> dict[str, float]:
    """Start a server, and take all figures."""
    found, tell = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve_tiny, args=(tell,), daemon=True)
    server.start()
    try:
        port = found.recv()
        asyncio.run(ask_all(port, draw_requests(4, 0), 4))  # warm
        ratios, rates, lost = [], [], 0
        for repeat in range(repeats):
            requests = draw_requests(count, repeat + 1)
            sides = []
            for at_once in (AT_ONCE, 1):
                began = perf_counter()
                answers = asyncio.run(ask_all(port, requests, at_once))
                sides.append((perf_counter() - began, answers))
            (together_s, together), (alone_s, alone) = sides
            lost += sum(a is None or a != b for a, b in zip(together, alone, strict=True))
            ratios.append(alone_s / together_s)
            rates.append(count / together_s)
        memory = {}
        for name, number in (("rss_200", min(200, soak)), ("rss", soak - min(200, soak))):
            answers = asyncio.run(ask_all(port, draw_requests(number, 1000 + number), AT_ONCE))
            lost += answers.count(None)
            memory[name] = read_memory(server.pid or 0)
    finally:
        server.terminate()
    rest = {"lowest": min(ratios), "highest": max(ratios), "answers_s": median(rates)}
    return {"speedup": median(ratios), **rest, "lost": lost, "soak": soak, **memory}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100, help="requests of each side of the comparison")
    parser.add_argument("--repeats", type=int, default=3, help="comparisons, each with requests of its own")
    parser.add_argument("--soak", type=int, default=2000, help="requests after which memory is looked at")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    found = measure(options.requests, options.repeats, options.soak)
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"{AT_ONCE} at a time over one: {found['speedup']:.1f} ({found['lowest']:.1f} to {found['highest']:.1f}) times"
    )
    print(f"{found['answers_s']:.1f} answers a second; {found['lost']:.0f} lost or changed")
    print(f"memory after 200 requests {found['rss_200']:.0f} MiB, after {found['soak']:.0f} {found['rss']:.0f} MiB")


if __name__ == "__main__":
    main()
