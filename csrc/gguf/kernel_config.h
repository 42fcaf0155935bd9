// kernel_config.ini: how TL1 and TL2 cut each shape of matrix into tiles. Microsoft's fork of 2024
// generates its kernels from this file when it is built; a model file and the program must agree.
#pragma once
#include <filesystem>
#include <vector>

#include "gguf/microsoft_layouts.h"

namespace wf {

inline constexpr const char* kKernelConfigName = "kernel_config.ini";

class KernelConfig {
 public:
  KernelConfig() = default;
  // Reads sections with m, k, bm, bk, bmm; throws Error naming file and line.
  explicit KernelConfig(const std::filesystem::path& path);

  // The tiling of a shape: the given one, or, where `may_choose`, a new one. Throws Error when
  // there is none or the type cannot use it.
  const Tiling& tiling(GgufType type, int64_t rows, int64_t columns, bool may_choose);

  // Throws Error when another one is there.
  void write(const std::filesystem::path& path) const;

 private:
  std::string where_ = kKernelConfigName;
  std::vector<Tiling> tilings_;
};

}  // namespace wf
