// This program, and others that it runs as child processes.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace wf {

// What main returns: run()'s result, or 1 after saying "NAME: what went wrong" when it throws.
int run_main(const std::string& name, const std::function<int()>& run);

// Runs `arguments[0]` (looked up on PATH) until it ends and returns its standard output; standard
// error goes to this process's when `show_errors`. Throws Error with the last line that it wrote to
// standard error when it fails or cannot be started. A signal that this process handles ends it.
std::string run_program(const std::vector<std::string>& arguments, bool show_errors = false);

// The `wf` command of the checkout this program was built in, else "wf", for PATH.
std::string wf_command();

// The program of this name that was built beside this one.
std::string sibling_program(const std::string& name);

}  // namespace wf
