// Ctrl-C and SIGTERM: the first asks the loop to save and stop, the second ends the process at
// once.
#pragma once

namespace wf {

inline constexpr int kPreemptedExitCode = 143;

void install_stop_signals();
bool stop_requested();

}  // namespace wf
