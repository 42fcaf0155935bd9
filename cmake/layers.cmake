add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wall> $<$<COMPILE_LANGUAGE:CXX>:-Wextra>
                    $<$<COMPILE_LANGUAGE:CXX>:-Wno-unused-parameter>
                    # GCC 12 sees uninitialised members in aggregates that have initialisers.
                    $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>
                    # GCC 13 sees an overrun in the std::vector<bool> of Torch's autograd::Function.
                    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<VERSION_GREATER_EQUAL:$<CXX_COMPILER_VERSION>,13>>:-Wno-array-bounds>
                    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<VERSION_GREATER_EQUAL:$<CXX_COMPILER_VERSION>,13>>:-Wno-stringop-overflow>
                    # No contraction into FMA: the ternary formulas are specified operation by operation.
                    $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>
                    # Lets ccache see through a precompiled header.
                    $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)

set(WF_LAYERS "")

# wf_layer(name [TORCH] [LINK libraries...]): csrc/<name>/*.cpp as a library that links all earlier layers.
function(wf_layer name)
  cmake_parse_arguments(layer "TORCH" "" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/csrc/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(wf_${name} STATIC ${sources})
  target_include_directories(wf_${name} PUBLIC ${CMAKE_SOURCE_DIR}/csrc)
  target_link_libraries(wf_${name} PUBLIC ${WF_LAYERS} ${layer_LINK} Threads::Threads)
  if(layer_TORCH)
    target_link_libraries(wf_${name} PUBLIC torch)
    wf_precompiled_torch(wf_${name})
    if(WF_CUDA)
      target_compile_definitions(wf_${name} PUBLIC WF_CUDA)
      target_link_libraries(wf_${name} PUBLIC wf_kernels torch_cuda c10_cuda)
    endif()
  endif()
  set(WF_LAYERS wf_${name} ${WF_LAYERS} PARENT_SCOPE)
endfunction()

# torch/torch.h costs 15 s a file bare, 7 s from one precompiled header that all layers share.
add_library(wf_torch_header STATIC ${CMAKE_SOURCE_DIR}/cmake/torch_header.cpp)
target_link_libraries(wf_torch_header PUBLIC torch)
target_precompile_headers(wf_torch_header PRIVATE <torch/torch.h>)
function(wf_precompiled_torch target)
  target_precompile_headers(${target} REUSE_FROM wf_torch_header)
  # An executable would be compiled with -fPIE and could not use a header compiled with -fPIC.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fPIC>)
endfunction()

# wf_program(name [TORCH]): csrc/app/<name>.cpp with the layers so far, put at the top of the build folder. `programs`
# builds them all, without tests.
add_custom_target(programs)
function(wf_program name)
  add_executable(${name} ${CMAKE_SOURCE_DIR}/csrc/app/${name}.cpp)
  target_link_libraries(${name} PRIVATE jemalloc ${WF_LAYERS} CLI11::CLI11)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  if("TORCH" IN_LIST ARGN)
    wf_precompiled_torch(${name})
  endif()
  add_dependencies(programs ${name})
endfunction()

# wf_tests(layer): tests/<layer>/*_test.cpp against that layer and the ones it links.
function(wf_tests name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${name}/*_test.cpp)
  if(NOT sources OR NOT TARGET wf_${name})
    return()
  endif()
  add_executable(${name}_tests ${sources})
  target_include_directories(${name}_tests PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name}_tests PRIVATE wf_${name} GTest::gmock GTest::gtest_main)
  get_target_property(linked wf_${name} LINK_LIBRARIES)
  if("torch" IN_LIST linked)
    wf_precompiled_torch(${name}_tests)
  endif()
  target_compile_definitions(${name}_tests PRIVATE WF_PYTHON="${Python3_EXECUTABLE}"
                             WF_SOURCE_DIR="${CMAKE_SOURCE_DIR}" WF_BINARY_DIR="${CMAKE_BINARY_DIR}")
  gtest_discover_tests(${name}_tests DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 600 LABELS ${name})
endfunction()
