// A trace of what a GPU did during one step (Kineto, as torch.profiler), for `wf profile`.
#pragma once
#include <filesystem>

namespace wf {

class Profile {
 public:
  // Everything from here until save() is recorded.
  Profile();
  // Waits for the GPU and writes a Chrome trace.
  void save(const std::filesystem::path& file);
};

}  // namespace wf
