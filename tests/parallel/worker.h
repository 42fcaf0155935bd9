// What one rank of a test does, in a process of its own: `parallel_tests --worker JOB`.
#pragma once
#include <string>

namespace wf::test {

// Prints "rank R: done" and returns 0, or prints the error and returns 1.
int run_worker(const std::string& job);

}  // namespace wf::test
