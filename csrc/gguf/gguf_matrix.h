// A matrix of a GGUF file as codes and a scale again.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "gguf/kernel_config.h"

namespace wf {

struct GgufMatrix {
  std::vector<int8_t> codes;  // row-major, in the file's order of rows
  float scale = 0;            // the real value of code +1, a `.scale` tensor included
  std::string problem;        // why the tensor is not codes times one scale; empty when it is
  int64_t zeros = 0;
};

// Whether the tensor is a block matrix ("blk.N.….weight" of two dimensions).
bool is_block_matrix(const GgufTensor& tensor);

// Decodes a block matrix of any type written here. `kernels` matters to TL1 and TL2.
GgufMatrix read_gguf_matrix(const Gguf& file, const GgufTensor& tensor, KernelConfig& kernels);

// Decodes any tensor of numbers; throws Error for a type that is not read here.
std::vector<float> read_gguf_floats(const Gguf& file, const GgufTensor& tensor);

// The kernel_config.ini beside a file, where there is one.
KernelConfig kernels_beside(const std::filesystem::path& gguf);

}  // namespace wf
