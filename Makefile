# The two commands: `make run` starts everything, `make test` tests everything. Both begin on a bare machine with Python ≥ 3.11.
# `make manage ARGS='adduser eve@example.org'` runs a command against the running installation.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: run test manage lint bench lock screenshots environment development clean

run: environment
	@exec $(BIN)/python manage.py up $(ARGS)

manage: environment
	@exec $(BIN)/python manage.py $(ARGS)

test: development
	@tests/lab/install_debian.sh
	@exec $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Linters: style, layers, types, the front end. All of them, then the verdict.
lint: development
	@failed=0; PATH="$$PATH:$(abspath $(BIN))"; for linter in "$(BIN)/ruff check ." "$(BIN)/ruff format --check ." \
		"$(BIN)/lint-imports" "$(BIN)/mypy" "npm run --silent lint"; do echo "== $$linter"; $$linter || failed=1; done; exit $$failed

# Each benchmark prints its figure, its bar and their ratio, and fails above the bar.
bench: development
	@failed=0; for file in tests/bench/bench_*.py; do echo "== $$file"; $(BIN)/python -m tests.bench.$$(basename $$file .py) || failed=1; done; exit $$failed

screenshots: development
	@exec $(BIN)/python -m tests.browser.screenshots $(ARGS)

# Hashes and no addresses: what a registry is called is the machine's business.
lock: development
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) pyproject.toml --group dev -o requirements-dev.txt
	$(COMPILE) --group node -o requirements-node.txt

environment:
	@$(PYTHON) bootstrap.py $(VENV)

development:
	@$(PYTHON) bootstrap.py $(VENV) --dev

clean:
	rm -rf $(VENV) node_modules staticfiles frontend/static/build
