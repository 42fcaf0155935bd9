#include "train/signal.h"

#include <signal.h>
#include <unistd.h>

namespace wf {
namespace {

volatile sig_atomic_t requested = 0;

void on_signal(int) {
  // Checkpoints are renamed into place when complete, so leaving in the middle of one harms
  // nothing.
  if (requested) _exit(kPreemptedExitCode);
  requested = 1;
  constexpr char text[] = "\nstopping after this step; once more to stop at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, sizeof text - 1);
}

}  // namespace

void install_stop_signals() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return requested != 0; }

}  // namespace wf
