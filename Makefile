# TitanBit. `make quickstart` runs the main job on the CPU, `make test` the tests, `make` builds the native library.
# Everything made lands in build/ (and data/, checkpoints/ for the quickstart, dist/), which git ignores.

CXX ?= g++
BUILD := build
# All cores, unless the command line says -jN.
MAKEFLAGS += -j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
OBJ := $(BUILD)/obj

# The bits of results follow from the sources alone (cpu/ops/vector.h): no compiler may fuse a product with a sum.
# A loop that clang leaves scalar is a matter of speed. CI adds -Werror; a compiler yet unknown may warn of more.
CXXFLAGS_COMMON := -O3 $(CXXFLAGS) -std=c++17 -fPIC -fopenmp -fvisibility=hidden \
  -fno-math-errno -fno-trapping-math -ffp-contract=off \
  -Wall -Wextra -Wno-pass-failed -Icuda/include -Icuda/cpu -Icuda/host -MMD -MP

SYSTEM := $(shell uname -s)
ARCH := $(shell uname -m)
ifeq ($(ARCH),x86_64)
# MMX leaves the x87 registers in use where nobody clears them, and fmod, which JavaScript's % calls, then gives NaN.
FLAGS_portable := -march=x86-64 -mno-mmx
FLAGS_avx2 := -march=x86-64-v3 -mno-mmx
FLAGS_avx512 := -march=x86-64-v4 -mavx512vnni -mprefer-vector-width=512 -mno-mmx
else
# The three levels are then the same portable code; the run time picks the first.
FLAGS_portable :=
FLAGS_avx2 :=
FLAGS_avx512 :=
endif

OPS := $(wildcard cuda/cpu/ops/*.cpp)
PLAIN := $(wildcard cuda/cpu/*.cpp)
HOST := $(wildcard cuda/host/*.cpp)
# One line a file; `make V=1` shows the commands.
run = $(if $(V),,@echo "  $(1) $@" && )

CPU_OBJECTS := $(PLAIN:cuda/%.cpp=$(OBJ)/%.o) $(HOST:cuda/%.cpp=$(OBJ)/%.o) \
  $(foreach isa,portable avx2 avx512,$(OPS:cuda/%.cpp=$(OBJ)/%.$(isa).o))

.PHONY: all cpu cuda clean
all: cpu

cpu: $(BUILD)/libtitanbit_cpu.so

# Written under another name and renamed: a running program keeps the library it has mapped.
$(BUILD)/libtitanbit_cpu.so: $(CPU_OBJECTS)
	$(call run,link)$(CXX) -shared -fopenmp -static-libgcc -static-libstdc++ -Wl,-rpath,'$$ORIGIN' -Wl,--no-undefined -o $@.tmp $^
	@mv $@.tmp $@

$(OBJ)/cpu/%.o: cuda/cpu/%.cpp | cpu-dirs
	$(call run,compile)$(CXX) $(CXXFLAGS_COMMON) $(FLAGS_portable) -c $< -o $@
$(OBJ)/host/%.o: cuda/host/%.cpp | cpu-dirs
	$(call run,compile)$(CXX) $(CXXFLAGS_COMMON) $(FLAGS_portable) -c $< -o $@

define ISA_RULE
$(OBJ)/cpu/ops/%.$(1).o: cuda/cpu/ops/%.cpp | cpu-dirs
	$$(call run,compile)$$(CXX) $$(CXXFLAGS_COMMON) $$(FLAGS_$(1)) -DTB_ISA=$(1) $(2) -c $$< -o $$@
endef
$(eval $(call ISA_RULE,portable,-DTB_LAUNCHERS=1 -DTB_ISA_LEVEL=0))
$(eval $(call ISA_RULE,avx2,-DTB_LAUNCHERS=0 -DTB_ISA_LEVEL=1))
$(eval $(call ISA_RULE,avx512,-DTB_LAUNCHERS=0 -DTB_ISA_LEVEL=2))

.PHONY: cpu-dirs
cpu-dirs: $(OBJ)/compiler
	@mkdir -p $(OBJ)/cpu/ops $(OBJ)/host

# Objects are made anew when the compiler or its flags change.
$(CPU_OBJECTS): $(OBJ)/compiler

# ---- CUDA ---------------------------------------------------------------------------------------------------------

NVCC ?= nvcc
# Compute capabilities to compile for: those of the cards here, else the ones that others may have. `make cuda CUDA_ARCH=89`.
CARDS := $(sort $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -E '^[0-9]+\.[0-9]$$' | tr -d .))
ifndef CUDA_ARCH
CUDA_ARCH := $(if $(CARDS),$(subst 90,90a,$(CARDS)),80 89 90a ptx)
endif
# Cards newer than every architecture named compile the PTX when they load it.
CUDA_PTX := -gencode arch=compute_89,code=compute_89
CUDA_TARGETS := $(foreach arch,$(filter-out ptx,$(CUDA_ARCH)),-gencode arch=compute_$(arch),code=sm_$(arch)) \
  $(if $(filter ptx,$(CUDA_ARCH)),$(CUDA_PTX))
# No -use_fast_math: it deletes what NaN checks and exact rounding need. Fast functions are called by name, one by one.
NVCCFLAGS_COMMON := -std=c++17 -O3 -ccbin $(firstword $(CXX)) -Werror cross-execution-space-call \
  -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-unused-parameter -Xptxas -warn-spills \
  -Icuda/include -Icuda/common -Icuda/kernels -Icuda/runtime -Icuda/host -MMD -MP $(CUDA_TARGETS) $(NVCCFLAGS)
# The run time calls kernels that only sm_90a has where they were compiled.
NVCCFLAGS_COMMON += $(if $(filter 90a,$(CUDA_ARCH)),-DTB_BUILT_FOR_SM90A)
# Objects of each choice of architectures lie apart.
CUDA_OBJ := $(OBJ)/cuda-$(subst $(eval ) ,-,$(strip $(CUDA_ARCH)))
CUDA_SOURCES := $(wildcard cuda/runtime/*.cu cuda/kernels/*.cu)
CUDA_HOST_SOURCES := $(wildcard cuda/kernels/*.cpp)
CUDA_OBJECTS := $(CUDA_SOURCES:cuda/%.cu=$(CUDA_OBJ)/%.o) $(CUDA_HOST_SOURCES:cuda/%.cpp=$(CUDA_OBJ)/%.o)

.PHONY: cuda-objects cuda-dirs
cuda: $(BUILD)/libtitanbit.so
# Compiles without linking.
cuda-objects: $(CUDA_OBJECTS)

# The runtime is linked in: the library opens where there is no driver, and says so. What the header declares is all there.
$(BUILD)/libtitanbit.so: $(CUDA_OBJECTS) $(HOST:cuda/%.cpp=$(OBJ)/%.o)
	$(call run,link)$(NVCC) -shared -cudart static -ccbin $(firstword $(CXX)) -o $@.tmp $^ -Xcompiler -fopenmp \
	  -Xlinker -rpath,'$$ORIGIN',--no-undefined,--exclude-libs,ALL -Xcompiler -static-libgcc,-static-libstdc++ -ldl
	@nm -D --defined-only $@.tmp >$@.symbols; \
	  for name in $$(sed -nE 's/^TB_API .*[ *](tb_[a-z0-9_]+)\(.*/\1/p' cuda/include/titanbit.h); do \
	    grep -q " $$name\$$" $@.symbols || { echo "error: Cannot finish $@ as it lacks $$name" >&2; exit 1; }; done
	@mv $@.tmp $@

$(CUDA_OBJ)/%.o: cuda/%.cu | cuda-dirs
	$(call run,compile)$(NVCC) $(NVCCFLAGS_COMMON) -c $< -o $@
$(CUDA_OBJ)/kernels/%.o: cuda/kernels/%.cpp | cuda-dirs
	$(call run,compile)$(NVCC) $(NVCCFLAGS_COMMON) -c $< -o $@

cuda-dirs: $(OBJ)/compiler cuda-compiler
	@mkdir -p $(CUDA_OBJ)/kernels $(CUDA_OBJ)/runtime $(OBJ)/host

.PHONY: cuda-compiler
cuda-compiler:
	@command -v $(firstword $(NVCC)) >/dev/null || { \
	  echo "error: Cannot build the CUDA library as $(firstword $(NVCC)) is not on PATH: install the CUDA toolkit (12.4 or" \
	    "later), or name its compiler, make cuda NVCC=/usr/local/cuda/bin/nvcc; \`make\` builds for the CPU" >&2; exit 1; }

# Tried once, and whenever the compiler or its flags change: a program that needs C++17, bit casts and OpenMP.
COMPILER := $(shell $(CXX) --version 2>/dev/null | head -n 1) $(CXX) $(CXXFLAGS_COMMON)
define TRIAL
#include <omp.h>
int main() { return __builtin_bit_cast(int, 0.0f) + (omp_get_max_threads() > 0 ? 0 : 1); }
endef
export TRIAL
.PHONY: force
$(OBJ)/compiler: force
	@if test -f $@ && test "$$(cat $@)" = '$(COMPILER)'; then exit 0; fi; \
	test $(SYSTEM) = Linux || { \
	  echo "error: Cannot build the native library on $(SYSTEM) as it is written for Linux on x86-64 and aarch64:" \
	    "use a Linux machine, a virtual one or a container (README, Systems)" >&2; exit 1; }; \
	command -v $(firstword $(CXX)) >/dev/null || { \
	  echo "error: Cannot build the native library as the C++ compiler $(firstword $(CXX)) is not on PATH:" \
	    "install it (Debian, Ubuntu: apt-get install g++) or name another, make CXX=..." >&2; exit 1; }; \
	mkdir -p $(OBJ); \
	echo "$$TRIAL" | $(CXX) -std=c++17 -fopenmp $(CXXFLAGS) -x c++ - -o $@.trial 2>$@.log && $@.trial || { \
	  echo "error: Cannot build the native library as $(CXX) does not make a running program of C++17 with OpenMP:" \
	    "use g++ 11 or later, or clang 14 or later with its OpenMP library (Debian, Ubuntu: apt-get install" \
	    "libomp-14-dev for clang-14); its messages are in $@.log" >&2; rm -f $@.trial; exit 1; }; \
	rm -f $@.trial $@.log; \
	printf '%s\n' '$(COMPILER)' >$@

# ---- Deno and what is run on it ----------------------------------------------------------------------------------

DENO_VERSION := 2.9.6
DENO_SERIES := $(basename $(DENO_VERSION))
DENO_BUILT := $(CURDIR)/$(BUILD)/deno/bin/deno
# The deno on PATH, where it is of the pinned series; else the one that npm puts into build/.
ifndef DENO
DENO := $(shell deno --version 2>/dev/null | grep -q '^deno $(DENO_SERIES)\.' && command -v deno)
ifeq ($(DENO),)
DENO := $(DENO_BUILT)
export PATH := $(dir $(DENO_BUILT)):$(PATH)
endif
endif
export DENO_NO_UPDATE_CHECK := 1
# Where a package manager was called is not where make runs tasks.
unexport INIT_CWD

.PHONY: deps deno-path test ok quickstart quickstart-clean bench dist help

# Fetches what deno.lock names, and the bundler that `make dist` starts; nothing afterwards needs the network.
deps: $(DENO)
	@mkdir -p $(BUILD)
	@"$(DENO)" install --frozen --quiet
	@"$(DENO)" bundle --quiet --platform deno -o $(BUILD)/bundler_check.js lib/ffi/errors.ts >/dev/null

$(DENO_BUILT):
	@command -v npm >/dev/null || { \
	  echo "error: Cannot get Deno $(DENO_SERIES) as neither it nor npm is on PATH: install npm (Debian, Ubuntu:" \
	    "apt-get install npm) or Deno $(DENO_VERSION)" >&2; exit 1; }
	@echo "Getting Deno $(DENO_VERSION) from npm into $(BUILD)/deno"
	@mkdir -p $(BUILD)/deno/bin
	@npm install --prefix $(BUILD)/deno --no-save --no-package-lock --no-audit --no-fund --include=optional \
	  --loglevel=error deno@$(DENO_VERSION)
	@binary=$$(ls -d $(BUILD)/deno/node_modules/@deno/*/deno 2>/dev/null | head -n 1); \
	  test -n "$$binary" && "$$binary" --version >/dev/null || { \
	  echo "error: Cannot use Deno from npm as it has no build for $$(uname -sm) that runs here:" \
	    "install Deno $(DENO_VERSION) yourself and put it on PATH" >&2; exit 1; }; \
	  ln -sf "$(CURDIR)/$$binary" $@; \
  echo "To call it yourself: export PATH=\"$(CURDIR)/build/deno/bin:\$$PATH\""

deno-path: $(DENO)
	@echo "$(DENO)"

# Where there is a card and a compiler for it, the suite tests the CUDA build too.
LIBRARIES := cpu $(if $(and $(CARDS),$(shell command -v $(firstword $(NVCC)))),cuda)

test: $(LIBRARIES) deps
	@"$(DENO)" task --quiet test

ok: $(LIBRARIES) deps
	@"$(DENO)" task --quiet ok

quickstart: cpu deps
	@"$(DENO)" task --quiet quickstart

quickstart-clean:
	rm -rf data/sotu* data/tokenizer.json checkpoints/quickstart

bench: cpu deps
	@"$(DENO)" task --quiet bench --suite cpu

dist: cpu deps
	@"$(DENO)" task --quiet dist

help:
	@echo "make                  build the native library for the CPU, build/libtitanbit_cpu.so"
	@echo "make cuda             build it for NVIDIA cards, build/libtitanbit.so (CUDA_ARCH=\"80 89 90a ptx\" to choose which)"
	@echo "make quickstart       corpus, tokenizer, training, evaluation and a paragraph, in under 6 minutes"
	@echo "make quickstart-clean forget the quickstart's corpus, tokens and checkpoints"
	@echo "make test             the whole suite"
	@echo "make ok               format, lint, types, layers and the whole suite"
	@echo "make bench            kernels of the CPU build beside their rivals"
	@echo "make dist             one relocatable folder and archive with everything, in dist/"
	@echo "make deps             fetch Deno and the npm packages; the network is not needed afterwards"
	@echo "make clean            remove build/ and dist/"

clean:
	rm -rf $(BUILD) dist

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
