// What every kernel test needs: arrays on the card, poisoned before use, and bf16 on the host.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace wf::testing {

inline void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// Waits for the kernels and reports what went wrong in them.
inline void finish() {
  check(cudaGetLastError());
  check(cudaDeviceSynchronize());
}

template <class T>
class DeviceArray {
 public:
  // Poisoned: every byte 0xff, so that an element nobody wrote is a NaN or a -1.
  explicit DeviceArray(size_t size) : size_(size) {
    check(cudaMalloc(reinterpret_cast<void**>(&data_), size * sizeof(T) + kGuard));
    check(cudaMemset(data_, 0xff, size * sizeof(T) + kGuard));
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  size_t size() const { return size_; }

  // Also checks that nothing was written behind the end.
  std::vector<T> read() const {
    std::vector<T> values(size_);
    check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    std::vector<uint8_t> guard(kGuard);
    check(cudaMemcpy(guard.data(), data_ + size_, kGuard, cudaMemcpyDeviceToHost));
    for (uint8_t byte : guard) {
      if (byte != 0xff) throw std::runtime_error("a kernel wrote behind the end of an array");
    }
    return values;
  }

 private:
  static constexpr size_t kGuard = 256;
  T* data_ = nullptr;
  size_t size_;
};

// Skips, visibly, where the kernels cannot run.
class Gpu : public ::testing::Test {
 protected:
  void SetUp() override {
    int count = 0, device = 0, major = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no usable GPU";
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    if (major != 9)
      GTEST_SKIP() << "the kernels are built for sm_90a, this card is sm_" << major << "x";
    // Fresh inputs in every run; a failure prints the seed, WF_SEED=<seed> repeats it.
    const char* given = std::getenv("WF_SEED");
    seed_ = given ? std::stoul(given) : std::random_device{}();
    random_.seed(seed_);
    RecordProperty("seed", std::to_string(seed_));
  }
  void TearDown() override {
    if (HasFailure()) ADD_FAILURE() << "WF_SEED=" << seed_;
  }

  std::vector<int8_t> random_codes(size_t size, int limit) {  // uniform in [-limit, limit]
    std::vector<int8_t> values(size);
    for (auto& v : values) v = static_cast<int8_t>(random_() % (2 * limit + 1)) - limit;
    return values;
  }
  float uniform(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random_);
  }
  float normal() { return normal_(random_); }

  std::mt19937 random_;

 private:
  uint32_t seed_ = 0;
  std::normal_distribution<float> normal_;
};

inline uint16_t bf16_bits(float value) {  // round to nearest even; NaN stays NaN
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value != value) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float from_bf16_bits(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline float round_to_bf16(float value) { return from_bf16_bits(bf16_bits(value)); }

inline std::vector<uint16_t> to_bf16_bits(const std::vector<float>& values) {
  std::vector<uint16_t> bits(values.size());
  for (size_t i = 0; i < values.size(); ++i) bits[i] = bf16_bits(values[i]);
  return bits;
}

// bf16 arrays travel as bits; kernels see them as bf16.
inline __nv_bfloat16* as_bf16(const DeviceArray<uint16_t>& array) {
  return reinterpret_cast<__nv_bfloat16*>(array.get());
}

// Distance in representable fp32 values; infinite for NaN.
inline double ulps(float a, float b) {
  if (a != a || b != b) return 1e30;
  const auto ordered = [](float x) {
    const int32_t i = std::bit_cast<int32_t>(x);
    return static_cast<int64_t>(i < 0 ? INT32_MIN - static_cast<int64_t>(i) : i);
  };
  return std::abs(static_cast<double>(ordered(a) - ordered(b)));
}

}  // namespace wf::testing
