// Loops compiled twice: for the processor that everything here is built for, and for AVX2 with
// F16C, chosen when the program runs. Both give the same bits: no multiplication and addition is
// contracted (-ffp-contract=off), and sums are written with their order.
#pragma once

#if defined(__x86_64__)
#define WF_AVX2 __attribute__((target("avx2,f16c")))
#else
#define WF_AVX2
#endif
#define WF_LOOP inline __attribute__((always_inline))  // what may be given to `vectorised`

namespace wf {

// Whether this processor has AVX2 and F16C; tests set it to false.
inline bool& wide_vectors() {
#if defined(__x86_64__)
  static bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
#else
  static bool has = false;
#endif
  return has;
}

template <auto kLoop, class... Args>
WF_AVX2 auto with_avx2(Args... args) {
  return kLoop(args...);
}

// kLoop(args...), in the version that fits the processor.
template <auto kLoop, class... Args>
auto vectorised(Args... args) {
  return wide_vectors() ? with_avx2<kLoop>(args...) : kLoop(args...);
}

}  // namespace wf
