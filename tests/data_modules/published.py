"""Small true files in the layouts that data sets are published in, with columns of those names."""

import base64
import csv
import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.data_modules.source_files import cell, jsonl, parquet

WIDTH, HEIGHT = 64, 48
SUFFIX = " Please provide the bounding box coordinate of the region that can help you answer the question better."


def scene(seed=0, kind="PNG"):
    """An image of 64×48 pixels, each of a colour of its own; as a JPEG nearly so."""
    pixels = np.stack(np.meshgrid(np.arange(WIDTH) * 3, np.arange(HEIGHT) * 5), -1)
    pixels = np.concatenate([pixels, np.full((HEIGHT, WIDTH, 1), seed)], -1).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def visual_cot(folder, *boxes, dataset="vsr"):
    """viscot_363k.json: an array; the second image's path ends in the box, in pixels."""
    (folder / "cot" / dataset).mkdir(parents=True, exist_ok=True)
    rows = []
    for number, box in enumerate(boxes):
        path = f"cot/{dataset}/{number:012}.jpg"
        (folder / path).write_bytes(scene(number, "JPEG"))
        turns = [f"<image>\nWhat is behind cake {number}?{SUFFIX}", "[0.614, 0.619, 0.731, 0.773]", "<image>", "dog"]
        speakers = ["human", "gpt"] * 2
        rows.append(
            {
                "dataset": dataset,
                "split": "train",
                "question_id": number,
                "image": [path, f"{path}###{box}"],
                "conversations": [
                    {"from": speaker, "value": value} for speaker, value in zip(speakers, turns, strict=True)
                ],
            }
        )
    file = folder / "viscot_363k.json"
    file.write_text(json.dumps(rows, indent=4))
    return file


def visual_cot_metadata(folder, *boxes):
    """metadata/vsr_cot_train.jsonl: all boxes of a question."""
    visual_cot(folder, *["[1, 2, 3, 4]"] * len(boxes))
    (folder / "metadata").mkdir(exist_ok=True)
    common = {"dataset": "vsr", "split": "train", "width": WIDTH, "height": HEIGHT}
    rows = [
        {"question": f"What is it {number}?", "answer": "dog", "image": f"{number:012}.jpg", "bboxs": box, **common}
        for number, box in enumerate(boxes)
    ]
    return jsonl(folder / "metadata" / "vsr_cot_train.jsonl", rows)


def lvr_row(number, boxes, answer="<lvr>\n<answer> Dark blue denim shorts. </answer>"):
    return {
        "dataset": "flickr30k",
        "split": "train",
        "question_id": number,
        "image": [f"viscot/flickr30k/{number}.png"],
        "conversations": [
            {"from": "human", "value": f"<image>\nWhat does child {number} wear?\nProvide a short response."},
            {"from": "gpt", "value": answer},
        ],
        "bboxes": boxes,
    }


def lvr(folder, *rows):
    """A JSON array, with images where ``--image_folder`` would be."""
    (folder / "viscot/flickr30k").mkdir(parents=True, exist_ok=True)
    for row in rows:
        images = row["image"] if isinstance(row["image"], list) else [row["image"]]
        for image in images:
            (folder / image).write_bytes(scene(row["question_id"]))
    file = folder / "train.json"
    file.write_text(json.dumps(list(rows)))
    return file


def monet_row(number, key="image", steps=2):
    content = []
    for step in range(steps):
        content += [
            {"type": "text", "text": f"Step {step}. <abs_vis_token></abs_vis_token>"},
            {"type": "image", key: f"Visual_CoT/images/{number}_{step}.png"},
            {"type": "text", "text": " <observation>It is red.</observation> "},
        ]
    return {
        "metadata": {"sample_id": number, "dataset_name": "Visual_CoT"},
        "data": [
            {"role": "system", "content": [{"type": "text", "text": "You are a helpful assistant."}]},
            {
                "role": "user",
                "content": [
                    {"type": "image", key: f"Visual_CoT/images/{number}.png"},
                    {"type": "text", "text": f"Which colour has {number}?"},
                ],
            },
            {"role": "assistant", "content": [*content, {"type": "text", "text": "\\boxed{red}"}]},
        ],
    }


def monet(folder, rows, zipped=False):
    """Visual_CoT/train.json with images beside it, zipped or not."""
    part = folder / "Visual_CoT"
    (part / "images").mkdir(parents=True)
    names = sorted({name for row in rows for name in json.dumps(row).split('"') if name.endswith(".png")})
    for number, name in enumerate(names):
        if zipped:
            with zipfile.ZipFile(part / "images.zip", "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(name.removeprefix("Visual_CoT/"), scene(number))
        else:
            (folder / name).write_bytes(scene(number))
    (part / "train.json").write_text(json.dumps(rows))
    return part / "train.json"


def thinkmorph_row(number, **changes):
    return {
        "pid": f"p{number}",
        "question": f"Go from the start to the goal of maze {number}.",
        "answer": "R,D",
        "problem_image_0": cell(number),
        "resoning_thought_0": "I draw the path.",
        "reasoning_image_0": cell(100 + number),
        "resoning_thought_1": "So it goes right, then down.",
        "task": "Spatial_Navigation",
        "full_text_only_thought": "Right, then down.",
    } | changes


def thinkmorph(folder, rows):
    (folder / "Spatial_Navigation/data").mkdir(parents=True)
    return parquet(folder / "Spatial_Navigation/data/train-00000-of-00001.parquet", rows)


def vstar_row(number, label="B", options="(A) rubber\n(B) cotton\n(C) kevlar\n(D) leather"):
    instruction = "Answer with the option's letter from the given choices directly."
    return {
        "image": cell(number),
        "text": f"What is glove {number} made of?\n{options}\n{instruction}",
        "label": label,
        "question_id": str(number),
        "category": "direct_attributes",
    }


def vstar(folder, rows):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return parquet(folder / "data/test-00000-of-00001.parquet", rows)


def mmvp(folder, rows):
    """Questions.csv, and ``MMVP Images/1.jpg``; a row: question, options, the right one."""
    (folder / "MMVP Images").mkdir(parents=True, exist_ok=True)
    with (folder / "Questions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Index", "Question", "Options", "Correct Answer"])
        for number, row in enumerate(rows, start=1):
            (folder / f"MMVP Images/{number}.jpg").write_bytes(scene(number, "JPEG"))
            table.writerow([number, *row])
    return folder / "Questions.csv"


def hrbench_row(number, **changes):
    return {
        "index": number,
        "question": f"What number is on door {number}?",
        "answer": "C",
        "category": "single",
        "A": "1",
        "B": "22",
        "C": "333",
        "D": "4444",
        "cycle_category": "cycle_1",
        "image": base64.b64encode(scene(number, "JPEG")).decode(),
    } | changes


def hrbench(folder, rows, kind="parquet"):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"hr_bench_4k.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
        return file
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        table.writeheader()
        table.writerows(rows)
    return file


def mme_realworld(folder, rows):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    file = folder / "data/train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def mme_realworld_row(number, **changes):
    return {
        "index": str(number),
        "bytes": base64.b64encode(scene(number, "JPEG")).decode(),
        "question": f"What is on sign {number}?",
        "answer": "E",
        "category": "Perception/OCR",
        "l2-category": "OCR with Complex Context",
        "multi-choice options": ["(A) 1", "(B) 2", "(C) 3", "(D) 4", "(E) The image does not feature the sign."],
    } | changes
