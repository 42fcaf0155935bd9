#include "train/signal.h"

#include <signal.h>
#include <unistd.h>

#include <string_view>

namespace wf {
namespace {

volatile sig_atomic_t requested = 0;

void say(std::string_view text) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
}

void save_and_stop(int) {
  // Checkpoints are renamed into place when complete, so leaving in the middle of one harms
  // nothing.
  if (requested) _exit(kPreemptedExitCode);
  requested = 1;
  say("\nstopping after this step; once more to stop at once\n");
}

void stop_at_once(int) {
  say("\nstopped; nothing was saved, the same command starts again\n");
  _exit(kPreemptedExitCode);
}

}  // namespace

void install_stop_signals(bool something_to_save) {
  struct sigaction action{};
  action.sa_handler = something_to_save ? save_and_stop : stop_at_once;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return requested != 0; }

}  // namespace wf
