# ninja -C build/cpu loader_bench && build/cpu/tests/loader_bench
add_executable(loader_bench EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/loader_bench.cpp)
target_include_directories(loader_bench PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(loader_bench PRIVATE wf_data)
