// Element types of stored tensors, by the names that .safetensors files have for them, widest
// first: the order in which the reference implementation lays tensors out, so that each is aligned.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace wf {

enum class Dtype { kI64, kF64, kF32, kI32, kBF16, kF16, kI16, kI8, kU8, kBool };

struct DtypeInfo {
  Dtype dtype;
  std::string_view name;
  int64_t bytes;
};
inline constexpr std::array kDtypes = {
    DtypeInfo{Dtype::kI64, "I64", 8},   DtypeInfo{Dtype::kF64, "F64", 8},
    DtypeInfo{Dtype::kF32, "F32", 4},   DtypeInfo{Dtype::kI32, "I32", 4},
    DtypeInfo{Dtype::kBF16, "BF16", 2}, DtypeInfo{Dtype::kF16, "F16", 2},
    DtypeInfo{Dtype::kI16, "I16", 2},   DtypeInfo{Dtype::kI8, "I8", 1},
    DtypeInfo{Dtype::kU8, "U8", 1},     DtypeInfo{Dtype::kBool, "BOOL", 1}};

constexpr const DtypeInfo& dtype_info(Dtype dtype) { return kDtypes[std::size_t(dtype)]; }
constexpr std::string_view dtype_name(Dtype dtype) { return dtype_info(dtype).name; }

constexpr bool is_floating_point(Dtype dtype) {
  return dtype == Dtype::kF64 || dtype == Dtype::kF32 || dtype == Dtype::kBF16 ||
         dtype == Dtype::kF16;
}

}  // namespace wf
