// Ctrl-C and SIGTERM. Where there is something to save the first asks the loop to save and stop,
// and the second ends the process at once; elsewhere the first does.
#pragma once

namespace wf {

inline constexpr int kPreemptedExitCode = 143;

void install_stop_signals(bool something_to_save);
bool stop_requested();

}  // namespace wf
