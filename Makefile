# Two commands do all the set-up and the work: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
SOURCES := cluster router deployments tests setup.py
# Processes of pytest for tests that share nothing: tests/README.md says which those are.
WORKERS ?= 2
UNITS := $(BIN)/pytest -q -n $(WORKERS) --dist worksteal
APART := $(BIN)/pytest -q -n $(WORKERS) --dist loadfile
# One process has the session's vLLM, the other has Ray.
TOGETHER := $(BIN)/pytest -q -n 2 --dist loadgroup
DURATIONS := --durations-file .cache/test-durations
# Tests of modules that are compiled.
COMPILED := tests/unit/router tests/property/router tests/integration/gateway
BEYOND_UNITS := tests/engine_contract tests/integration tests/clients tests/e2e tests/benchmarks tests/chaos tests/fuzz tests/soak

.PHONY: help setup demo test test-all test-clients check check-interpreted data format helm-docs lock clean \
	bench-peers bench-gateway bench-overhead bench-routing bench-images bench-index bench-autoscaling bench-admission bench-placement bench-idle \
	bench-disaggregation bench-token-gaps bench-adapters bench-slo bench-simulate bench-load audit sbom chaos fuzz soak quantised-model bench-speculation

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: ## The environment (.venv), the small real model, Helm for tests; quick when nothing changed
	@.setup/install

demo: setup ## Two replicas of a real model on this machine, one question, the answer (KEEP=1: leave it serving)
	@$(BIN)/rackserve demo $(if $(KEEP),--keep)

test: setup check check-interpreted ## What every change must pass
	@.setup/prometheus
	$(APART) $(DURATIONS)/apart.txt -m "not (ray or vllm or long)" $(BEYOND_UNITS)
	$(TOGETHER) $(DURATIONS)/together.txt -m "(ray or vllm) and not long" $(BEYOND_UNITS)

test-all: setup check check-interpreted ## Every test, the long ones too, and properties on new examples
	@.setup/prometheus
	@.setup/nixl
	-$(BIN)/python -m tests.quantised_model.make
	@.setup/torchvision
	@seed=$${SEED:-$$RANDOM$$RANDOM}; echo "Properties on new examples: make test-all SEED=$$seed draws the same again"; \
	HYPOTHESIS_PROFILE=explore $(UNITS) $(DURATIONS)/explore.txt --hypothesis-seed=$$seed tests/property
	$(APART) $(DURATIONS)/apart.txt -m "not (ray or vllm)" $(BEYOND_UNITS)
	$(TOGETHER) $(DURATIONS)/together.txt --full-size -m "ray or vllm" $(BEYOND_UNITS)

test-clients: setup ## SDKs, frameworks, old HTTP and load generators against the endpoint, each in an environment of its own
	$(BIN)/python -m tests.clients.environments
	$(BIN)/pytest -q tests/clients

fuzz: setup ## A million inputs to the parsers of what strangers and engines send (INPUTS=…, SEED=…)
	@.setup/atheris
	RACKSERVE_INTERPRETED=1 $(BIN)/python -m tests.fuzz.run --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.fuzz.run --mutations --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1)

soak: setup ## Twenty minutes of everything that clients do to one gateway: memory, files and counts (SECONDS=…)
	$(BIN)/python -m tests.soak.soak --seconds $(or $(SECONDS),1200)

chaos: setup ## 500 faults under traffic: kills, stops, bad links, full disks; every request accounted (FAULTS=…, SEED=…)
	$(BIN)/python -m tests.chaos.run --faults $(or $(FAULTS),500) --seed $(or $(SEED),1)

quantised-model: setup ## The small model in INT8, by LLM Compressor in an environment of its own, for the test that serves it
	$(BIN)/python -m tests.quantised_model.make

check: setup ## Format, lint, types, import rules, unit and property tests: a few minutes
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python .setup/audit.py
	$(UNITS) $(DURATIONS)/check.txt tests/unit tests/property

check-interpreted: setup ## Tests of what is compiled, once more as its sources run it: where nothing compiles, they do
	RACKSERVE_INTERPRETED=1 $(UNITS) $(DURATIONS)/interpreted.txt -m "not (vllm or long)" $(COMPILED)

data: ## Which data files tests and benchmarks find, where to get the others, what is skipped without
	@$(or $(wildcard $(BIN)/python),python3) -m tests.data_files

format: setup ## Put the code in its format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

helm-docs: setup ## The chart's values.schema.json and README table, from the spec and values.yaml
	$(BIN)/python -m deployments.chart

lock: ## Write what .venv holds to the lock file, and the hashes of what images are made of (FIND_LINKS=…: files that no index has)
	$(BIN)/pip freeze --exclude-editable | grep -viE '^(torchvision|torchaudio|torchcodec)==' > .setup/constraints.txt
	$(BIN)/python .setup/lock.py $(or $(FIND_LINKS),https://download.pytorch.org/whl/cpu/torch)

audit: setup ## Published advisories on what images are made of, by pip-audit; says so where none can be read
	@$(BIN)/python .setup/audit.py

sbom: setup ## What images are made of, as CycloneDX, one file for each of .setup/hashes, in sbom/
	@mkdir -p sbom
	@for lock in .setup/hashes/*.txt; do \
	  PYTHONWARNINGS=ignore $(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements $$lock \
	    --pyproject pyproject.toml --output-reproducible --output-file sbom/$$(basename $$lock .txt).cdx.json || exit 1; \
	done
	@ls -l sbom

bench-peers: setup ## Install the peers that benchmarks run beside us, each in a virtual environment of its own
	$(BIN)/python -m tests.benchmarks.peers

bench-gateway: bench-peers ## The gateway's cost per request and chunk, beside smg and vllm-router
	$(BIN)/python -m tests.benchmarks.gateway.bench_gateway

bench-overhead: setup ## Tokens per second through a whole cluster, and straight at its replica
	$(BIN)/python -m tests.benchmarks.bench_overhead

bench-routing: bench-peers ## Cache hits and TTFT: a recorded trace in virtual time, and real engines beside peers
	$(BIN)/python -m tests.benchmarks.routing.bench_routing --cluster

bench-images: bench-peers ## Pictures asked about again and again: hits and TTFT on simulated engines, beside peers
	$(BIN)/python -m tests.benchmarks.routing.bench_routing --part simulated --shape pictures --name bench-images

bench-index: setup ## The prefix index: lookup time, memory, updates a second
	$(BIN)/python -m tests.benchmarks.prefix_index

bench-admission: setup ## What flow control costs a request; bursts of 15 000 requests at a real gateway
	$(BIN)/python -m tests.benchmarks.bench_admission

bench-autoscaling: setup ## Requests in time and GPU-hours: the autoscaler beside a fixed fleet and Serve's policy
	$(BIN)/python -m tests.benchmarks.bench_autoscaling

bench-idle: setup ## CPU time of an idle cluster, by process, beside the RackServe from before it was made calm
	$(BIN)/python -m tests.benchmarks.bench_idle

bench-adapters: setup ## Loads of LoRA adapters and time to first token, in virtual time: beside routing by load alone
	$(BIN)/python -m tests.benchmarks.adapters.bench_adapters

bench-foresight: setup ## The scorecard in cluster/foresight/README.md: cost model beside measured points, twin beside a real local cluster
	$(BIN)/python -m deployments.cost_fit score $(or $(RACKSERVE_DATA),../shared)/data/silicon.csv --into cluster/foresight/README.md
	$(BIN)/python -m tests.benchmarks.foresight.bench_foresight --into cluster/foresight/README.md

bench-slo: setup ## Requests within an SLO of both latencies, and GPU-hours, in virtual time: beside a fixed fleet
	$(BIN)/python -m tests.benchmarks.slo.bench_slo

bench-simulate: setup ## The twin of a cluster: CPU time a request on 8 and 288 GPUs, published shapes repeated
	$(BIN)/python -m tests.benchmarks.simulate.bench_simulate

bench-load: setup ## `rackserve bench` beside aiperf: the same requests to the same gateway
	$(BIN)/python -m tests.benchmarks.load.bench_load

bench-disaggregation: setup ## Goodput of prefill and decode apart, in virtual time: the live decision beside fixed rules
	$(BIN)/python -m tests.benchmarks.disaggregation.bench_disaggregation

bench-token-gaps: setup ## The longest gap between tokens while a long prompt comes: real vLLM, prefill and decode apart or not
	@.setup/nixl
	$(BIN)/python -m tests.benchmarks.disaggregation.bench_token_gaps

bench-speculation: setup ## Tokens a second with drafts from n-grams, beside none: real vLLM, one stream
	$(BIN)/python -m tests.benchmarks.bench_speculation

bench-placement: setup ## Planner and placement: time, error against published results, seconds from `ray up` to first tokens
	$(BIN)/python -m tests.benchmarks.bench_placement

clean: ## Remove the environment, what is compiled and all caches of this folder
	find router -name '*.so' -delete
	rm -rf router/compiled.json build .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
