# `make` alone lists what there is.
SHELL := /bin/bash
VENV := .venv/bin
PYTHON ?= /usr/bin/python3
IMAGES ?=
SUBSET ?=
export PYTHON

# Set-up is redone when what it installs changes, or when the Caffe that it found is gone.
SETUP_INPUTS := pyproject.toml $(wildcard scripts/*.txt) scripts/setup.sh scripts/build_caffe.sh \
	$(wildcard python/latenthash/kernels/*.[ch]) $(shell find cmake/caffe -type f)
ifndef LATENTHASH_CAFFE
CAFFE_PREFIX := $(shell cat .venv/caffe-prefix 2>/dev/null)
ifeq ($(wildcard $(CAFFE_PREFIX)/bin/caffe),)
SETUP_INPUTS += again
endif
endif

.PHONY: help setup demo demo-photos serve reproduce test test-all lint docs adapters proto clean again

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

setup:  ## install all that is needed; demo and test do it by themselves
	@scripts/setup.sh

.venv/ready: $(SETUP_INPUTS)
	@scripts/setup.sh

demo: .venv/ready  ## train, index and search: 5,000 digits, or IMAGES=DIR of class folders
	@$(if $(IMAGES),,scripts/01_get_data.sh mnist5k)
	@$(VENV)/python tools/demo.py $(if $(IMAGES),--images "$(IMAGES)")

demo-photos: .venv/ready  ## search photos without labels or training: IMAGES=DIR, or some that apt has
	@scripts/get_models.sh efficientnet_lite0
	@$(if $(IMAGES),,scripts/01_get_data.sh stamps)
	@$(VENV)/python tools/demo_photos.py $(if $(IMAGES),--images "$(IMAGES)")

serve: .venv/ready  ## browse and search in the browser: INDEX=DIR, or the one built last
	@scripts/build_page.sh
	@$(if $(INDEX),,[ -f run/latest-index ] || $(MAKE) --no-print-directory demo)
	@$(VENV)/python tools/serve.py $(if $(INDEX),--index "$(INDEX)")

reproduce: .venv/ready  ## measure everything, write docs/results.md: CIFAR-10 or IMAGES=DIR, SUBSET=N
	@scripts/get_models.sh efficientnet_lite0
	@if [ -n "$(IMAGES)" ]; then set -- --images "$(IMAGES)"; \
	elif scripts/01_get_data.sh cifar10; then set -- --images data/cifar10; \
	else echo "CIFAR-10 cannot be had: MNIST's digits instead" >&2; \
	  scripts/01_get_data.sh mnist5k && set -- --digits data/mnist5k/mnist_5k.csv.gz; fi; \
	$(VENV)/python tools/reproduce.py "$$@" $(if $(SUBSET),--subset $(SUBSET))

# BLAS threads of tests that run side by side with others steal each other's time.
test test-all: export OPENBLAS_NUM_THREADS ?= 1

test: .venv/ready  ## run the tests
	@$(VENV)/python -m pytest

test-all: .venv/ready  ## run the tests, those that take minutes too
	@$(VENV)/python -m pytest -m ''

lint: .venv/ready  ## check style, types, layers and shell scripts
	@$(VENV)/ruff check
	@$(VENV)/ruff format --check
	@$(VENV)/mypy
	@$(VENV)/lint-imports
	@! command -v shellcheck >/dev/null || shellcheck -x scripts/*.sh docker/*.sh .ci/run

adapters: .venv/ready  ## install what indexes in Milvus and extraction on Spark need; make test tries them then
	@$(VENV)/python -m pip install -q --disable-pip-version-check -c scripts/constraints.txt -e '.[adapters]'

docs: .venv/ready  ## build the documentation into site/, strictly
	@PYTHON=$(VENV)/python scripts/build_docs.sh

proto: .venv/ready  ## generate the Python classes of Caffe's messages again
	@$(VENV)/python -m pip install -q --disable-pip-version-check -e '.[proto]'
	@cd python && ../$(VENV)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. \
		latenthash/proto/caffe.proto

clean:  ## remove what make made here; keeps your data and the Caffe in the cache
	@rm -rf web/client/{dist,node_modules} tests/browser/node_modules
	@rm -rf .venv demo demo-photos site build dist python/*.egg-info python/latenthash/kernels/*.so .hypothesis .*_cache
	@find $(wildcard python tools tests benchmarks) -name __pycache__ -prune -exec rm -rf {} +
