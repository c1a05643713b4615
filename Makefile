.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
# Where to look for another build of the pinned torch, such as PyTorch's index of CPU wheels: make setup TORCH_INDEX=URL
TORCH_INDEX ?=

TASK ?=
RUN_OPTIONS = $(if $(RESUME),resume="$(RESUME)",$(if $(CONFIG),config="$(CONFIG)",$(if $(TASK),task=$(TASK)))) \
	$(if $(PAPER),paper=$(PAPER)) $(if $(BACKBONE),backbone="$(BACKBONE)") $(if $(DATA),data=$(DATA)) \
	$(if $(DATA_ROOT),data.root="$(DATA_ROOT)") $(if $(TRAINER),trainer=$(TRAINER)) $(if $(NAME),name="$(NAME)") \
	$(if $(GPUS),trainer.accelerator=gpu trainer.devices=$(GPUS)) $(if $(NODES),trainer.num_nodes=$(NODES)) \
	$(if $(PRECISION),trainer.precision=$(PRECISION)) \
	$(if $(COMPILE),compile=true) \
	$(if $(INIT_FROM),init_from="$(INIT_FROM)")

.PHONY: help
help: ## list the targets
	@echo "lightvid: video inpainting and video instance segmentation"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'
	@echo
	@echo "  make train TASK=inpaint [BACKBONE=reversible] [DATA=davis DATA_ROOT=/data/DAVIS] [PAPER=sttn]"
	@echo "  make train TASK=vis     [BACKBONE=full] [DATA=youtube_vis DATA_ROOT=/data/youtube_vis_2019] [PAPER=deformable_vistr]"
	@echo "             [GPUS=2 [NODES=2]] [PRECISION=bf16-mixed] [COMPILE=1] [TRAINER=hour] [NAME=my-run]"
	@echo "             [RESUME=runs/inpaint/my-run | CONFIG=runs/inpaint/my-run/config.yaml] [INIT_FROM=runs/inpaint/other-run]"
	@echo "             [ARGS=\"task.adversarial_weight=0.02 trainer.max_steps=5000\"]"

$(VENV)/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --retries 1 --timeout 15 \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==$(TORCH)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.PHONY: setup
setup: $(VENV)/ready ## make .venv from the pinned versions (once)

.PHONY: train
train: $(VENV)/ready ## train, evaluate and leave a run folder: make train TASK=inpaint
	$(BIN)/lightvid train $(RUN_OPTIONS) $(ARGS)

.PHONY: sweep
sweep: $(VENV)/ready ## train with many values: make sweep SWEEP=inpaint COUNT=10 [LOCAL=1]
	$(BIN)/lightvid sweep "$(or $(SWEEP),inpaint)" $(if $(COUNT),--count $(COUNT)) $(if $(LOCAL),--local) $(ARGS)

.PHONY: evaluate
evaluate: $(VENV)/ready ## measure a run again: make evaluate RUN=runs/inpaint/NAME
	$(BIN)/lightvid evaluate $(if $(RUN),run="$(RUN)") $(ARGS)

.PHONY: sample
sample: $(VENV)/ready ## write the sample data to data/sample (train does it by itself)
	$(BIN)/lightvid sample

$(VENV)/demo-ready: $(VENV)/ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo]'
	touch $@

.PHONY: demo-setup
demo-setup: $(VENV)/demo-ready # what the page needs besides

.PHONY: demo
demo: $(VENV)/demo-ready ## a web page that removes objects: make demo ARGS="--port 7860 --checkpoint FILE"
	$(BIN)/lightvid sample
	$(BIN)/lightvid demo $(ARGS)

.PHONY: test
test: $(VENV)/ready ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

.PHONY: lint
lint: $(VENV)/ready ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: docs
docs: $(VENV)/ready ## build the documentation into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir $(or $(SITE),site)

.PHONY: bench
bench: $(VENV)/ready ## memory, FLOP and speed tables; ARGS=--quick for a part, DATA_ROOT=/data/DAVIS for real frames
	$(BIN)/python benchmarks/memory.py $(ARGS)
	$(BIN)/python benchmarks/mixers.py $(ARGS)
	$(BIN)/python benchmarks/psal.py $(ARGS) $(if $(DATA_ROOT),--root "$(DATA_ROOT)")
	$(BIN)/python benchmarks/deformable.py $(ARGS)
	$(BIN)/python benchmarks/deformable_conv.py
	$(BIN)/python benchmarks/vis_attention.py $(ARGS)
	$(BIN)/python benchmarks/youtube_vis_ap.py $(ARGS)
	$(BIN)/python benchmarks/segmentation_memory.py
	$(BIN)/python benchmarks/inpainting_inference.py $(ARGS) $(if $(DATA_ROOT),--root "$(DATA_ROOT)")
	$(if $(DATA_ROOT),$(BIN)/python benchmarks/propagation.py --root "$(DATA_ROOT)")
	$(BIN)/python benchmarks/ddp.py
	$(BIN)/python benchmarks/loading.py $(if $(DATA_ROOT),--root "$(DATA_ROOT)")
