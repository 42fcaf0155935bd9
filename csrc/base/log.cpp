#include "base/log.h"

#include <unistd.h>

#include <cstdio>
#include <mutex>

namespace wf::log {
namespace {

std::mutex mutex;  // background threads (prefetch, checkpoint) narrate too
bool narrating = true;
bool live_line_open = false;

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
  fmt::print(stderr, "\r\033[K{}", text);
  std::fflush(stderr);
  live_line_open = true;
}

}  // namespace wf::log
