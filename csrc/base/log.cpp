#include "base/log.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>

namespace wf::log {
namespace {

std::mutex mutex;  // background threads (prefetch, checkpoint) narrate too
bool narrating = true;
bool live_line_open = false;

// Columns of the terminal; 0 where it does not say.
size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

void set_narrating(bool on) { narrating = on; }

bool is_terminal() { return isatty(STDERR_FILENO) != 0; }

void line(std::string_view text) {
  if (!narrating) return;
  std::lock_guard lock(mutex);
  if (live_line_open) std::fputs("\r\033[K", stderr);
  live_line_open = false;
  fmt::print(stderr, "{}\n", text);
}

void live(std::string_view text) {
  if (!narrating || !is_terminal()) return;
  std::lock_guard lock(mutex);
  // A line that wraps could not be rewritten. The last column stays free for the cursor.
  if (const size_t width = terminal_width(); width > 0) text = text.substr(0, width - 1);
  fmt::print(stderr, "\r\033[K{}", text);
  std::fflush(stderr);
  live_line_open = true;
}

}  // namespace wf::log
