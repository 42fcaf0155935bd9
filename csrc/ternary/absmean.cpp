#include "ternary/absmean.h"

#include <array>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/float16.h"
#include "base/simd.h"

namespace wf {
namespace {

constexpr int kLanes = 16;
constexpr int64_t kPartElements = 1 << 15, kBlockElements = 1 << 10;
using Lanes = std::array<double, kLanes>;

// Lane j takes every kLanes-th element from j on, in order.
WF_LOOP void add_magnitudes(const float* in, int64_t count, double* lanes) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int j = 0; j < kLanes; ++j) lanes[j] += double(std::fabs(in[i + j]));
  for (int j = 0; i + j < count; ++j) lanes[j] += double(std::fabs(in[i + j]));
}

double sum_of_part(const StoredTensor& part) {
  Lanes lanes{};
  std::array<float, kBlockElements> block;
  for (int64_t at = 0, count; at < part.numel(); at += count) {
    count = std::min(kBlockElements, part.numel() - at);
    const float* values = part.dtype == Dtype::kF32 ? part.as<float>().data() + at : block.data();
    if (part.dtype != Dtype::kF32) read_floats(part, at, count, block.data());
    vectorised<add_magnitudes>(values, count, lanes.data());
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// Floating-point formats as bits: without the sign, a larger number has larger bits.
template <class T>
struct Bits {
  float (*read)(T);
  T infinity;
  static constexpr T kMagnitude = T(~T{0}) >> 1;
};
constexpr Bits<uint16_t> kHalf{half_to_float, 0x7C00};
constexpr Bits<uint16_t> kBfloat16{bfloat16_to_float, 0x7F80};
constexpr Bits<uint32_t> kFloat{[](uint32_t bits) { return std::bit_cast<float>(bits); },
                                0x7F800000};

// action(bits of the format, the weights as bits).
template <class Action>
auto with_bits(const StoredTensor& weights, Action&& action) {
  switch (weights.dtype) {
    case Dtype::kF16:
      return action(kHalf, weights.as<uint16_t>());
    case Dtype::kBF16:
      return action(kBfloat16, weights.as<uint16_t>());
    case Dtype::kF32:
      return action(kFloat, weights.as<uint32_t>());
    default:
      fail("internal error: {} has no ternary codes", dtype_name(weights.dtype));
  }
}

// The largest magnitude whose code is 0.
template <class T>
T last_zero(const Bits<T>& bits, float scale) {
  const float reciprocal = 1 / scale;
  T zero = 0, one = bits.infinity;
  while (one - zero > 1) {
    const T middle = T(zero + (one - zero) / 2);
    (ternary_code(bits.read(middle), reciprocal) == 0 ? zero : one) = middle;
  }
  return zero;
}

template <class T, class Code>
WF_LOOP void compare(const T* in, std::size_t count, T last_zero, Code* out) {
  using Signed = std::make_signed_t<T>;
  for (std::size_t i = 0; i < count; ++i) {
    const auto magnitude = Signed(in[i] & Bits<T>::kMagnitude);
    const auto sign = Signed(Signed(in[i]) >> (8 * sizeof(T) - 1));  // 0 or −1
    const auto one = Signed(magnitude > Signed(last_zero));
    out[i] = Code(Signed(Signed(one ^ sign) - sign));
  }
}

template <class T>
WF_LOOP bool any_other(const T* in, std::size_t count, T magnitude) {
  T other = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const T size = in[i] & Bits<T>::kMagnitude;
    other |= T(size != 0) & T(size != magnitude);
  }
  return other != 0;
}

}  // namespace

double abs_sum(const StoredTensor& weight, const ParallelFor& parallel_for) {
  const int64_t numel = weight.numel();
  std::vector<double> sums(std::size_t((numel + kPartElements - 1) / kPartElements));
  parallel_for(int64_t(sums.size()), [&](int64_t i) {
    const int64_t first = i * kPartElements;
    sums[std::size_t(i)] = sum_of_part(weight.part(first, std::min(kPartElements, numel - first)));
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

void ternary_codes(const StoredTensor& weights, float scale, int8_t* out) {
  with_bits(weights, [&]<class T>(const Bits<T>& bits, std::span<const T> values) {
    vectorised<compare<T, int8_t>>(values.data(), values.size(), last_zero(bits, scale), out);
  });
}

void ternary_codes(std::span<const float> weights, float scale, float* out) {
  vectorised<compare<uint32_t, float>>(reinterpret_cast<const uint32_t*>(weights.data()),
                                       weights.size(), last_zero(kFloat, scale), out);
}

void sign_codes(const StoredTensor& weights, int8_t* out) {
  with_bits(weights, [&]<class T>(const Bits<T>&, std::span<const T> values) {
    vectorised<compare<T, int8_t>>(values.data(), values.size(), T{0}, out);
  });
}

float only_magnitude(const StoredTensor& weights) {
  return with_bits(weights, [&]<class T>(const Bits<T>& bits, std::span<const T> values) {
    T magnitude = 0;
    for (std::size_t at = 0; at < values.size(); at += kBlockElements) {
      const auto block =
          values.subspan(at, std::min<std::size_t>(kBlockElements, values.size() - at));
      for (std::size_t i = 0; magnitude == 0 && i < block.size(); ++i)
        magnitude = block[i] & Bits<T>::kMagnitude;
      if (vectorised<any_other<T>>(block.data(), block.size(), magnitude)) return 0.0F;
    }
    return bits.read(magnitude);
  });
}

void master_from_codes(std::span<float> codes, float scale) {
  const auto nonzeros = std::ranges::count_if(codes, [](float code) { return code != 0; });
  if (nonzeros == 0) return;
  // |W| must sum to Δ·numel. No single fp32 magnitude may do that (above a power of two Δ/p has
  // coarser steps than Δ), so the first `raised` non-zeros take the next fp32 value up.
  const double sum = double(scale) * double(codes.size());
  float low = float(sum / double(nonzeros));
  if (double(low) * double(nonzeros) > sum) low = std::nextafter(low, 0.0F);
  const float high = std::nextafter(low, std::numeric_limits<float>::infinity());
  int64_t raised =
      std::llround((sum - double(low) * double(nonzeros)) / (double(high) - double(low)));
  for (float& code : codes)
    if (code != 0) code *= raised-- > 0 ? high : low;
}

}  // namespace wf
