# Every verb of the project. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m
# Compiled here, not at the first import: where bytecode may not be written a start would cost twice the time.
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable
STAMP := .venv/.installed
SFT := runs/vsp/tiny/sft-seed42
STAGE2 := runs/vsp/tiny/stage2-k4-seed42
TOKENIZER := runs/pushing/ivideogpt/tiny/tokenizer-gated-seed42
WORLD := runs/pushing/ivideogpt/tiny/world_model-gated-seed42
WALKED := runs/raycast/deepverse/tiny
# Training takes half the time on CPUs that multiply in bfloat16; others would take longer.
MIXED := $(if $(shell grep -s avx512_bf16 /proc/cpuinfo),trainer.precision=bf16-mixed)
TOLD := runs/metaworld_language/mmact/tiny
SEEN := runs/metaworld_seen/mmact/tiny
PRETRAIN := runs/vsp_reading/tiny/pretrain-seed42

.DEFAULT_GOAL := help
.PHONY: help setup format check test test-slow test-gpu gpu-report test-lmms-eval test-vla-eval test-slurm demo demo-from-scratch demo-ivideogpt demo-mmact demo-deepverse pretrain docs pictures constraints clean

help:  ## list these verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: $(STAMP)  ## make .venv with the tested versions (about a minute)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null
	$(INSTALL) '.[dev]'
	@touch $(STAMP)

format: setup  ## format and sort imports
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

check: setup  ## format, lint, types: what CI runs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

test: setup  ## the test suite, in two lanes (minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder

test-slow: setup  ## the tests that take minutes: 10,000 damaged files, 48 killed runs
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder -m slow

test-gpu: setup  ## the tests that need a GPU
	$(INSTALL) '.[dev,gpu]'
	$(BIN)/pytest -m gpu

gpu-report: setup  ## all that needs a GPU, tests and figures, in under nine minutes: a table and one JSON
	-@$(INSTALL) '.[dev,gpu,bitsandbytes]'
	$(RUN) benchmarks.gpu_report --out gpu_report.json

test-lmms-eval: setup  ## the tests of lmms-eval's plug-in, and what they need
	$(INSTALL) '.[dev,lmms-eval]' --override integrations/lmms_eval/overrides.txt
	$(BIN)/pytest -m lmms_eval

test-vla-eval: setup  ## the tests of what serves policies to vla-eval, and what they need
	$(INSTALL) '.[dev,vla-eval]'
	$(BIN)/pytest -m vla_eval

test-slurm: setup  ## the tests on a real SLURM, which must be running (a quarter of an hour)
	$(BIN)/pytest -m 'slurm and not slow' tests/slurm

demo: setup  ## data, baseline, stage 1, stage 2, evaluation, report: on a CPU, nothing downloaded
	$(RUN) mirage_pl.data task=vsp
	$(RUN) mirage_pl.train stage=sft task=vsp
	$(RUN) mirage_pl.train stage=stage1 task=vsp
	$(RUN) mirage_pl.train stage=stage2 task=vsp
	$(RUN) mirage_pl.evaluate ckpt=$(SFT) task=vsp
	$(RUN) mirage_pl.evaluate ckpt=$(STAGE2) task=vsp compare=[$(SFT)]

demo-ivideogpt: setup  ## a world is played, imagined and scored: on a CPU, nothing downloaded
	$(RUN) mirage_pl.data task=pushing
	$(RUN) mirage_pl.train stage=ivideogpt/tokenizer
	$(RUN) mirage_pl.train stage=ivideogpt/world_model
	$(RUN) mirage_pl.infer ckpt=$(WORLD) clip=data/pushing-64px/episodes/test_0.npz
	$(RUN) mirage_pl.evaluate ckpt=$(TOKENIZER)
	$(RUN) mirage_pl.evaluate ckpt=$(WORLD) evaluation=ivideogpt/ranking
	$(RUN) mirage_pl.evaluate ckpt=$(WORLD) conditions=[copy_last,tokenizer,shuffled_actions,unigram]

demo-mmact: setup  ## a policy that is told what to do, beside a baseline, and what of it all it reads: on a CPU, nothing downloaded
	$(RUN) mirage_pl.data task=metaworld_language
	$(RUN) mirage_pl.train stage=mmact/regression task=metaworld_language
	$(RUN) mirage_pl.train stage=mmact/action task=metaworld_language
	$(RUN) mirage_pl.train stage=mmact/text task=metaworld_language trainer.max_steps=900 least_hidden=1 decode_words.steps=1 run_dir=$(TOLD)/plans
	$(RUN) mirage_pl.evaluate ckpt=$(TOLD)/regression-seed42 conditions=[wrong_instruction,no_instruction,no_state]
	$(RUN) mirage_pl.evaluate ckpt=$(TOLD)/plans evaluation=mmact/plans decode_words.steps=1
	$(RUN) mirage_pl.infer ckpt=$(TOLD)/action-ordinal-full-seed42 episode=3 limit=100
	$(RUN) mirage_pl.train stage=mmact/vq task=metaworld_seen task.chunk=8 trainer.max_steps=500
	$(RUN) mirage_pl.train stage=mmact/mix task=metaworld_seen task.chunk=8 sight=images reads_state=false 'mix={action: 1.0, text: null, image: 1.0}' text_slots=null painting=full trainer.max_steps=500 loader.batch_size=32 callbacks.scores=null run_dir=$(SEEN)/seeing
	$(RUN) mirage_pl.evaluate ckpt=$(SEEN)/seeing evaluation=mmact/images decode_image.steps=1 label=images
	$(RUN) mirage_pl.evaluate ckpt=$(SEEN)/seeing evaluation=mmact/policy conditions=[blank_image]
	$(RUN) mirage_pl.evaluate ckpt=$(TOLD)/action-ordinal-full-seed42 compare=[$(TOLD)/regression-seed42]

demo-deepverse: setup  ## a world with depth that is walked through, imagined and scored: on a CPU, nothing downloaded
	$(RUN) mirage_pl.data task=raycast
	$(RUN) mirage_pl.train stage=deepverse/vae run_dir=$(WALKED)/vae-seed42 $(MIXED)
	$(RUN) mirage_pl.train stage=deepverse/world_model run_dir=$(WALKED)/world_model-seed42 $(MIXED)
	$(RUN) mirage_pl.infer ckpt=$(WALKED)/world_model-seed42 clip=data/raycast-64x48/episodes/test_5.npz actions='(FN)(FN)(FL)(SL)(SL)(FN)(fRR)(FR)'
	$(RUN) mirage_pl.evaluate ckpt=$(WALKED)/vae-seed42
	$(RUN) mirage_pl.evaluate ckpt=$(WALKED)/world_model-seed42 conditions=[copy_last,codes,wrong_turn,no_memory] task.window.hop=24
	$(RUN) mirage_pl.evaluate ckpt=$(WALKED)/world_model-seed42 evaluation=deepverse/loops label=loops

demo-from-scratch: pretrain demo  ## the same, after pretraining the tiny backbone anew into assets/tiny

pretrain: setup  ## give model=tiny eyes: from random weights to assets/tiny/model.safetensors
	$(RUN) mirage_pl.train stage=pretrain run_dir=$(PRETRAIN)
	$(RUN) mirage_pl.evaluate ckpt=$(PRETRAIN) task=vsp_reading
	$(RUN) mirage_pl.export ckpt=$(PRETRAIN) out=assets/tiny replace=true dtype=float16

docs: setup  ## build the site into site/, and stop at a broken link
	$(INSTALL) '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site: site/index.html"

pictures: setup  ## draw docs/method.png and docs/tasks.png
	$(RUN) docs.draw_method
	$(RUN) docs.draw_tasks

constraints: setup  ## write the installed versions into constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --override integrations/lmms_eval/overrides.txt --editable '.[dev,docs,optuna,lmms-eval,vla-eval]'
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable > constraints.txt

clean:  ## remove the environment, runs and generated data
	rm -rf .venv runs multirun data
