# Pure modules in test programs of their own: sanitizers and preloads do not mix. Every test_*.c here is built twice.
# Decisions of the limiter too, where they are pure.
PURE = $(addprefix src/,account.c books.c image.c limits.c lock.c map.c physical.c shares.c) \
	$(wildcard src/flow.c src/turn.c src/windows.c)
UNIT = $(basename $(notdir $(wildcard tests/unit/test_*.c)))
UNIT_FLAGS = -std=c11 $(WARNINGS) -O1 -g -fno-omit-frame-pointer -pthread
.PRECIOUS: $(BUILD)/unit/address/% $(BUILD)/unit/thread/%
UNIT_RUNS = $(UNIT:%=$(BUILD)/unit/address/%.ok) $(UNIT:%=$(BUILD)/unit/thread/%.ok)

check: check-exports $(UNIT_RUNS)

$(BUILD)/unit/address/%: tests/unit/%.c tests/unit/check.h $(PURE) $(HEADERS)
	@mkdir -p $(@D)
	@$(CC) $(UNIT_FLAGS) -fsanitize=address,undefined -fno-sanitize-recover=all -o $@ $< $(PURE)

$(BUILD)/unit/thread/%: tests/unit/%.c tests/unit/check.h $(PURE) $(HEADERS)
	@mkdir -p $(@D)
	@$(CC) $(UNIT_FLAGS) -fsanitize=thread -o $@ $< $(PURE)

$(BUILD)/unit/%.ok: $(BUILD)/unit/%
	@echo "== $*"; timeout 120 $< && touch $@

# Signatures and layouts against NVIDIA's own headers: make check-prototypes CUDA_INCLUDE=DIR (a folder with cuda.h
# and nvml.h). A pointer that we pass on untouched is void here, and matches any.
check-prototypes:
	@mkdir -p $(BUILD)/prototypes
	@printf '#define __CUDA_API_VERSION_INTERNAL\n#define NVML_NO_UNVERSIONED_FUNC_DEFS\n#include <cuda.h>\n#include <nvml.h>\n' \
		| $(CC) -E -I$(CUDA_INCLUDE) -xc - > $(BUILD)/prototypes/theirs.i
	@for name in $$(sed -n 's/^\(CUDA\|NVML\|CUDA_USED\|NVML_USED\)(\([A-Za-z0-9_]*\).*/\2/p' src/hooks.def); do \
		if grep -q "\b$$name *(" $(BUILD)/prototypes/theirs.i; then echo "KNOWN($$name)"; \
		else echo "not in these headers: $$name"; fi; done > $(BUILD)/prototypes/all
	@grep KNOWN $(BUILD)/prototypes/all > $(BUILD)/prototypes/known.def; grep -v KNOWN $(BUILD)/prototypes/all || true
	@for side in OURS THEIRS; do $(CXX) -std=c++20 -w -D$$side -I$(CUDA_INCLUDE) -DNVML_NO_UNVERSIONED_FUNC_DEFS \
		-DKNOWN_LIST='"$(abspath $(BUILD))/prototypes/known.def"' tests/unit/prototypes.cc -no-pie \
		-Wl,--unresolved-symbols=ignore-all -o $(BUILD)/prototypes/$$side; \
		$(BUILD)/prototypes/$$side | tr ' ' '\n' > $(BUILD)/prototypes/$$side.txt; done
	@paste -d' ' $(BUILD)/prototypes/OURS.txt $(BUILD)/prototypes/THEIRS.txt \
		| awk '/:/ {name = $$1} $$1 != $$2 && $$1 !~ />1$$/ {print name, $$0; bad = 1} END {exit bad}' \
		&& echo "prototypes: as these headers say"
