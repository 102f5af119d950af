# TitanBit. `make quickstart` runs the main job on the CPU, `make test` the tests, `make` builds the native library.
# Everything made lands in build/ (and data/, checkpoints/ for the quickstart), which git ignores.

CXX ?= g++
BUILD := build
OBJ := $(BUILD)/obj

CXXFLAGS_COMMON := -std=c++17 -O3 -fPIC -fopenmp -fvisibility=hidden -fno-math-errno -fno-trapping-math \
  -Wall -Wextra -Werror -Icuda/include -Icuda/cpu -Icuda/host -MMD -MP $(CXXFLAGS)

ARCH := $(shell uname -m)
ifeq ($(ARCH),x86_64)
FLAGS_portable := -march=x86-64
FLAGS_avx2 := -march=x86-64-v3
FLAGS_avx512 := -march=x86-64-v4 -mavx512vnni -mprefer-vector-width=512
else
# The three levels are then the same portable code; the run time picks the first.
FLAGS_portable :=
FLAGS_avx2 :=
FLAGS_avx512 :=
endif

OPS := $(wildcard cuda/cpu/ops/*.cpp)
PLAIN := $(wildcard cuda/cpu/*.cpp)
HOST := $(wildcard cuda/host/*.cpp)
CPU_OBJECTS := $(PLAIN:cuda/%.cpp=$(OBJ)/%.o) $(HOST:cuda/%.cpp=$(OBJ)/%.o) \
  $(foreach isa,portable avx2 avx512,$(OPS:cuda/%.cpp=$(OBJ)/%.$(isa).o))

.PHONY: all cpu clean
all: cpu

cpu: $(BUILD)/libtitanbit_cpu.so

# Written under another name and renamed: a running program keeps the library it has mapped.
$(BUILD)/libtitanbit_cpu.so: $(CPU_OBJECTS)
	$(CXX) -shared -fopenmp -static-libgcc -static-libstdc++ -Wl,-rpath,'$$ORIGIN' -Wl,--no-undefined -o $@.tmp $^
	mv $@.tmp $@

$(OBJ)/cpu/%.o: cuda/cpu/%.cpp | cpu-dirs
	$(CXX) $(CXXFLAGS_COMMON) $(FLAGS_portable) -c $< -o $@
$(OBJ)/host/%.o: cuda/host/%.cpp | cpu-dirs
	$(CXX) $(CXXFLAGS_COMMON) $(FLAGS_portable) -c $< -o $@

define ISA_RULE
$(OBJ)/cpu/ops/%.$(1).o: cuda/cpu/ops/%.cpp | cpu-dirs
	$$(CXX) $$(CXXFLAGS_COMMON) $$(FLAGS_$(1)) -DTB_ISA=$(1) $(2) -c $$< -o $$@
endef
$(eval $(call ISA_RULE,portable,-DTB_LAUNCHERS=1 -DTB_ISA_LEVEL=0))
$(eval $(call ISA_RULE,avx2,-DTB_LAUNCHERS=0 -DTB_ISA_LEVEL=1))
$(eval $(call ISA_RULE,avx512,-DTB_LAUNCHERS=0 -DTB_ISA_LEVEL=2))

.PHONY: cpu-dirs
cpu-dirs:
	@mkdir -p $(OBJ)/cpu/ops $(OBJ)/host

clean:
	rm -rf $(BUILD)

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
