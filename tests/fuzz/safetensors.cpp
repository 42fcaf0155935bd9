#include "io/safetensors.h"

#include <torch/torch.h>

#include "tests/fuzz/target.h"

void wf::fuzz::read_all(const std::filesystem::path& file) {
  const Safetensors safetensors(file);
  for (const auto& name : safetensors.names()) {
    const torch::Tensor tensor = safetensors.tensor(name);
    const auto* bytes = static_cast<const unsigned char*>(tensor.const_data_ptr());
    volatile uint64_t sum = 0;
    for (std::size_t i = 0; i < tensor.nbytes(); ++i) sum = sum + bytes[i];
  }
}
