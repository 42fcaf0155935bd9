#include "tests/fuzz/target.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "base/error.h"

namespace wf::fuzz {

std::string outcome;

namespace {

std::string without_numbers(const char* text) {
  std::string kept;
  bool quoted = false;
  for (; *text; ++text) {
    if (*text == '\'') quoted = !quoted;
    if (!quoted && (*text < '0' || *text > '9')) kept += *text;
  }
  return kept;
}

// A file in memory with a path.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("fuzz", 0)) {}
  const std::filesystem::path path() const {
    return "/proc/self/fd/" + std::to_string(descriptor_);
  }
  void hold(const unsigned char* data, std::size_t size) {
    if (ftruncate(descriptor_, 0) || pwrite(descriptor_, data, size, 0) != ssize_t(size))
      std::abort();
  }

 private:
  int descriptor_;
};

}  // namespace

void run(const unsigned char* data, std::size_t size) {
  static MemoryFile file;
  file.hold(data, size);
  try {
    read_all(file.path());
    outcome = "read";
  } catch (const Error& error) {
    outcome = without_numbers(error.what());
  }
}

}  // namespace wf::fuzz

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  wf::fuzz::run(data, size);
  return 0;
}
