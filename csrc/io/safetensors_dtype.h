// The element types of .safetensors files, widest first: the order in which the reference
// implementation lays tensors out, so that each one is aligned.
#pragma once
#include <torch/types.h>

#include <array>
#include <string_view>

namespace wf {

struct SafetensorsDtype {
  std::string_view name;
  torch::ScalarType dtype;
};

inline constexpr std::array<SafetensorsDtype, 10> kSafetensorsDtypes = {{
    {"I64", torch::kInt64},
    {"F64", torch::kFloat64},
    {"F32", torch::kFloat32},
    {"I32", torch::kInt32},
    {"BF16", torch::kBFloat16},
    {"F16", torch::kFloat16},
    {"I16", torch::kInt16},
    {"I8", torch::kInt8},
    {"U8", torch::kUInt8},
    {"BOOL", torch::kBool},
}};

}  // namespace wf
