// Other programs, run as child processes.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace wf {

// Runs `arguments[0]` (looked up on PATH) until it ends and returns its standard output; standard
// error goes to this process's when `show_errors`. Throws Error with the last line that it wrote to
// standard error when it fails or cannot be started.
std::string run_program(const std::vector<std::string>& arguments, bool show_errors = false);

// The `wf` command of the checkout this program was built in, else "wf", for PATH.
std::string wf_command();

}  // namespace wf
