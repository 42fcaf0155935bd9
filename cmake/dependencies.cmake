# LibTorch is the PyPI wheel of the checkout's Python. Its own CMake package insists on a CUDA toolkit
# and sets CUDA flags globally, so its libraries are imported here by name instead.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND ${Python3_EXECUTABLE} -c "import torch, pathlib; print(pathlib.Path(torch.__file__).parent, torch.__version__)"
  OUTPUT_VARIABLE torch_found OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE torch_missing ERROR_QUIET)
if(torch_missing)
  message(FATAL_ERROR "${Python3_EXECUTABLE} has no torch: run ./quickstart or ./test, which install it, "
                      "or pass -DPython3_EXECUTABLE=PATH")
endif()
separate_arguments(torch_found)
list(GET torch_found 0 TORCH_ROOT)
list(GET torch_found 1 TORCH_VERSION)
message(STATUS "LibTorch ${TORCH_VERSION} in ${TORCH_ROOT}")

add_library(torch INTERFACE)
target_include_directories(torch SYSTEM INTERFACE
  ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
target_link_directories(torch INTERFACE ${TORCH_ROOT}/lib)
# torch_cuda, which wf_parallel adds, registers the GPU kernels by being loaded, and --as-needed would drop it.
# libstdc++ comes first: libtorch exports a std::filesystem of its own that must not stand in for it.
target_link_libraries(torch INTERFACE -Wl,--no-as-needed stdc++ torch_cpu c10)
target_link_options(torch INTERFACE -Wl,-rpath,${TORCH_ROOT}/lib -Wl,--allow-shlib-undefined)

# fmt: the headers that the wheel ships, used header-only, without showing the rest of Torch.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fmt_include)
file(CREATE_LINK ${TORCH_ROOT}/include/fmt ${CMAKE_BINARY_DIR}/fmt_include/fmt SYMBOLIC)
add_library(fmt::fmt INTERFACE IMPORTED)
target_include_directories(fmt::fmt SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/fmt_include)
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY=1)

find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(GTest REQUIRED)
# The static archive, so that a program built here runs where yaml-cpp is not installed.
find_library(YAML_CPP_ARCHIVE NAMES libyaml-cpp.a REQUIRED)
add_library(yaml-cpp STATIC IMPORTED)
set_target_properties(yaml-cpp PROPERTIES IMPORTED_LOCATION ${YAML_CPP_ARCHIVE})
# The allocator of the programs: a CPU run takes up to 1.6 times the memory with the C library's, which keeps holes
# between tensors (tests/bench/results/cpu_memory.md). The sanitizers bring their own.
find_library(JEMALLOC_ARCHIVE NAMES libjemalloc.a REQUIRED)
add_library(jemalloc INTERFACE)
if(NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  target_link_libraries(jemalloc INTERFACE ${JEMALLOC_ARCHIVE} ${CMAKE_DL_LIBS} m)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(LLD ld.lld)
if(LLD)
  add_link_options(-fuse-ld=lld)
endif()
