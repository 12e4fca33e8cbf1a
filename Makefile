# GNU make. `make` lists the targets. Every target sets up what it needs; a second call starts at once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.8
UV := $(VENV)/.uv/bin/uv
COMPILE := --python-version 3.11 --universal --generate-hashes --no-emit-index-url -q

# Settings may be given on the command line (make smoke RECSYS_DATASET=movielens): every process sees them.
export $(filter RECSYS_%,$(.VARIABLES)) SQL
# Tests run side by side, a process for each core. In the default suite, who has nothing left takes tests from the end of
# another's list; where each file builds graphs of its own, a file stays with one process.
WORKERS := -n auto --maxprocesses 4
# Where each process starts servers of its own, and waits for them most of the time: two, however many cores there are.
TWO := -n 2 --dist loadfile

.PHONY: help setup run smoke rebuild sql mlflow test coverage test-graph test-faults test-s3 test-spark test-spark-all test-stack images up stack load docs sbom lint lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install the locked dependencies

$(STAMP): pyproject.toml requirements.lock .ci/uv.txt .ci/setup
	@.ci/setup $(VENV)
	@touch $@

run: setup ## sample data, graph, API and Dagster UI; stays until Ctrl-C
	@exec $(BIN)/python -m recsys_assets.cli run

smoke: setup ## the same without staying: ask the API, print the answers, stop
	@exec $(BIN)/python -m recsys_assets.cli smoke

rebuild: setup ## build again what was made with other settings than those of now, and the release
	@exec $(BIN)/python -m recsys_assets.cli rebuild

sql: setup ## DuckDB over the assets; or: make sql SQL='select ...'
	@$(BIN)/python -m recsys_assets.cli.sql $(if $(SQL),-c "$$SQL")

mlflow: setup ## MLflow's UI on the runs, models and plots that were recorded
	@exec $(BIN)/python -m recsys_assets.cli.mlflow_ui

# The default suite.
DEFAULT := $(WORKERS) --dist worksteal -m "not s3_real and not stack and not spark and not spark_all and not graph"

test: setup ## the default test suite
	@$(BIN)/pytest $(DEFAULT)

coverage: setup ## the default test suite, with the branches it covers; fails below the floor in pyproject.toml
	@$(BIN)/pytest $(DEFAULT) --cov

test-graph: setup ## the whole graph over and over: catching up, erasure, engines, gate, experiments, searches
	@$(BIN)/pytest $(WORKERS) --dist loadfile -m graph

TIMES ?= 3

test-faults: setup ## kills, outages, hostile files and races, TIMES over; then hostile files of whole sizes
	@for time in $$(seq $(TIMES)); do $(BIN)/pytest $(WORKERS) --dist worksteal -m "faults and not s3_real"; done
	@$(BIN)/python -m benchmarks.hostile_files

test-s3: setup ## storage tests on a real S3 server (Ceph RGW, installed from Debian)
	@recsys_assets_tests/ceph/install.sh
	@$(BIN)/pytest $(TWO) -m s3_real

test-stack: setup ## all services of docker/compose.yaml as processes: from a landed file to a served release
	@recsys_assets_tests/stack/install.sh
	@$(BIN)/pytest $(TWO) -m stack

IMAGES ?= $(CURDIR)/dist/images

images: setup ## both images built without Docker, by buildah on Debian's Python, and our services run in them; as root
	@docker/build_by_buildah.sh $(IMAGES)

up: ## the whole platform in containers, with the sample; needs Docker and docker/.env
	@exec docker/up

stack: setup ## the same services as processes of this machine, without Docker; stays until Ctrl-C
	@recsys_assets_tests/stack/install.sh
	@exec $(BIN)/python -m recsys_assets_tests.stack

# JVMs that live for minutes do best without the compiler that takes minutes to pay off.
test-spark test-spark-all: export JDK_JAVA_OPTIONS := -XX:TieredStopAtLevel=1 -XX:+UseSerialGC

test-spark: setup ## the same frame logic on a Spark cluster of this machine (installs pyspark and a Java)
	@recsys_assets_tests/spark/install.sh
	@$(BIN)/pytest -m spark

test-spark-all: setup ## each frame function on each frame by itself, on Spark: half an hour
	@recsys_assets_tests/spark/install.sh
	@$(BIN)/pytest -m spark_all

RATE ?= 50
SECONDS ?= 30
RECSYS_API_URL ?= http://127.0.0.1:8000

load: export RATE := $(RATE)
load: setup ## visitors on a running API (RECSYS_API_URL): RATE pages a second for SECONDS; EVENTS is a log of them
	@exec $(BIN)/locust -f benchmarks/load/locustfile.py --headless --only-summary --host $(RECSYS_API_URL) \
		--users $(RATE) --spawn-rate $(RATE) --run-time $(SECONDS)s --stop-timeout 5

docs: setup ## the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'open site/index.html'

sbom: setup ## what the images install: dist/sbom.cdx.json with versions and hashes, dist/licences.md
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements docker/requirements.lock --output-reproducible --of JSON -o dist/sbom.cdx.json
	@$(BIN)/python -m recsys_assets_tests.licences >dist/licences.md

lint: setup ## ruff, pyright, import rules
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

lock: setup ## resolve the dependencies anew after a change of pyproject.toml
	@$(UV) pip compile pyproject.toml --extra kubernetes --group dev $(COMPILE) -o requirements.lock
	@$(UV) pip compile pyproject.toml --extra kubernetes --group build $(COMPILE) -c requirements.lock -o docker/requirements.lock
	@$(UV) pip compile pyproject.toml --extra spark --group build-spark $(COMPILE) -c requirements.lock -o requirements-spark.lock
	@echo 'uv==$(UV_VERSION)' | $(UV) pip compile - $(COMPILE) --no-header -o .ci/uv.txt

clean: ## remove the environment, caches and Dagster's local storage; data/ stays
	rm -rf $(VENV) .dagster .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage catboost_info dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
