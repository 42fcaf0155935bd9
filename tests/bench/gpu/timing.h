// Timing on the card: medians of event-timed batches, and the two ceilings to compare with.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

namespace wf::bench {

inline void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(status));
  std::exit(1);
}

class Timer {
 public:
  Timer() {
    check(cudaEventCreate(&begin_));
    check(cudaEventCreate(&end_));
  }

  // Milliseconds of `count` calls, run(i) for i in order.
  double batch(int count, const std::function<void(int)>& run) {
    check(cudaEventRecord(begin_));
    for (int i = 0; i < count; ++i) run(i);
    check(cudaEventRecord(end_));
    check(cudaEventSynchronize(end_));
    check(cudaGetLastError());
    float ms;
    check(cudaEventElapsedTime(&ms, begin_, end_));
    return ms;
  }

  // Median milliseconds of one call: `samples` batches of about batch_ms each, after a warm-up.
  double median(const std::function<void(int)>& run, int samples = 9, double batch_ms = 4) {
    batch(2, run);
    const double once = batch(3, run) / 3;
    const int count = std::max(1, static_cast<int>(batch_ms / once));
    std::vector<double> times;
    for (int i = 0; i < samples; ++i) times.push_back(batch(count, run) / count);
    std::nth_element(times.begin(), times.begin() + samples / 2, times.end());
    return times[samples / 2];
  }

 private:
  cudaEvent_t begin_, end_;
};

// Device memory with random bytes in it (zeros run faster than data does).
template <class T = uint8_t>
T* random_memory(size_t bytes, const std::function<uint64_t(uint64_t)>& map = nullptr) {
  std::mt19937_64 random(std::random_device{}());
  std::vector<uint64_t> chunk(std::min<size_t>((bytes + 7) / 8, 1 << 20));
  for (auto& word : chunk) word = map ? map(random()) : random();
  void* memory;
  check(cudaMalloc(&memory,
                   chunk.size() * 8 * ((bytes + chunk.size() * 8 - 1) / (chunk.size() * 8))));
  for (size_t at = 0; at < bytes; at += chunk.size() * 8) {
    check(cudaMemcpy(static_cast<char*>(memory) + at, chunk.data(), chunk.size() * 8,
                     cudaMemcpyHostToDevice));
  }
  return static_cast<T*>(memory);
}

// Bytes read and written per second by a large device-to-device copy.
inline double copy_rate(Timer& timer) {
  constexpr size_t kBytes = 1ull << 30;
  void* from = random_memory(kBytes);
  void* to;
  check(cudaMalloc(&to, kBytes));
  const double ms = timer.median(
      [&](int) { check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice)); }, 15);
  check(cudaFree(from));
  check(cudaFree(to));
  return 2.0 * kBytes / ms * 1e3;
}

inline void print_card() {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0));
  int driver, runtime;
  check(cudaDriverGetVersion(&driver));
  check(cudaRuntimeGetVersion(&runtime));
  std::printf("%s, CUDA driver %d, runtime %d\n", properties.name, driver, runtime);
}

}  // namespace wf::bench
