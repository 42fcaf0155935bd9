#include "formats/safetensors.h"

#include "tests/fuzz/target.h"

void wf::fuzz::read_all(const std::filesystem::path& file) {
  const Safetensors safetensors(file);
  for (const auto& name : safetensors.names()) {
    volatile uint64_t sum = 0;
    for (const std::byte byte : safetensors.tensor(name).bytes) sum = sum + uint64_t(byte);
  }
}
