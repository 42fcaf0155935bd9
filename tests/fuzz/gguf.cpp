#include "gguf/gguf.h"

#include <numeric>

#include "tests/fuzz/target.h"

void wf::fuzz::read_all(const std::filesystem::path& file) {
  const Gguf gguf(file);
  volatile uint64_t sum = gguf.metadata().pairs().size();
  for (const auto& tensor : gguf.tensors())
    for (const std::byte byte : gguf.bytes(gguf.tensor(tensor.name))) sum = sum + uint64_t(byte);
}
