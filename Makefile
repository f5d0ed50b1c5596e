# Two commands do everything: `make run` shows a door call, `make test` runs all that CI runs.
CARGO ?= cargo
BUILD_NEEDS = cc=gcc make=make cmake=cmake
TEST_NEEDS  = tshark=tshark sipp=sip-tester baresip=baresip-core kamailio=kamailio python3=python3

.PHONY: help run serve test house lint doc deny unit e2e load bench fuzz-smoke

help:
	@echo "make run    build, then a demo building: one call is made before your eyes, then the server waits for your phone"
	@echo "make test   everything CI runs: house rules, lints, docs, unit and simulation tests, calls with real clients"
	@echo "make load   calls per CPU-second, latencies, memory, relay and transcoding cost; prints the README's table"
	@echo "make bench  criterion benches of every crate"
	@echo "make serve  the server with conf/doorward.toml"

run:
	@scripts/need.sh $(BUILD_NEEDS)
	$(CARGO) run --locked -p server --bin doorward -- demo

serve:
	@scripts/need.sh $(BUILD_NEEDS)
	$(CARGO) run --release --locked -p server --bin doorward -- serve --config conf/doorward.toml

test:
	@scripts/need.sh $(BUILD_NEEDS) $(TEST_NEEDS)
	@$(MAKE) --no-print-directory house lint doc deny unit e2e

house:
	scripts/check-house.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

# Neither tool is in Debian; where one is missing, this says so and goes on.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline --locked check --hide-inclusion-graph bans licenses sources; \
	else echo "skipped: cargo-deny is not installed (cargo install cargo-deny --locked)"; fi
	@if $(CARGO) machete --version >/dev/null 2>&1; then $(CARGO) machete; \
	else echo "skipped: cargo-machete is not installed (cargo install cargo-machete --locked)"; fi

unit:
	@scripts/check-tests.py
	@if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run --workspace --locked && \
	$(CARGO) nextest list --workspace --locked -T oneline >target/tests.txt && scripts/check-tests.py target/tests.txt; \
	else $(CARGO) test --workspace --locked; fi

# Real clients against the built binary: SIPp scenarios, baresip, linphone, torture messages, scanners. Those that cannot be
# installed here (linphone, the scanners of sipp-tests/clients/requirements.txt) are skipped with a line.
e2e:
	@scripts/need.sh linphone-daemon=linphone-cli || true
	@scripts/need-python.sh
	$(CARGO) build --locked -p server -p sipp-tests
	$(CARGO) run --locked -q -p sipp-tests -- all

load:
	@scripts/need.sh $(BUILD_NEEDS) $(TEST_NEEDS)
	$(CARGO) build --release --locked -p server -p sipp-tests
	$(CARGO) run --release --locked -q -p sipp-tests -- load

bench:
	$(CARGO) bench --workspace --locked

# CI runs the kept corpora and some mutations on the stable compiler (fuzz/targets/tests/smoke.rs); this is the real thing.
fuzz-smoke:
	cd fuzz && for t in $$($(CARGO) fuzz list); do $(CARGO) +nightly fuzz run $$t -- -max_total_time=20 || exit 1; done
