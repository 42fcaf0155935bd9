#include "shape/rope_scaling.h"

#include <numbers>

namespace wf {

double scaled_frequency(double frequency, const RopeScaling& s) {
  if (s.kind == RopeScaling::Kind::kLinear) return frequency / s.factor;
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double low = s.original_context / s.low_freq_factor;
  const double high = s.original_context / s.high_freq_factor;
  if (wavelength < high) return frequency;
  if (wavelength > low) return frequency / s.factor;
  const double smooth = (s.original_context / wavelength - s.low_freq_factor) /
                        (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

}  // namespace wf
