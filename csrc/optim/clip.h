// Keeps one bad batch from throwing the weights far away.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/check.h"
#include "config/field.h"
#include "io/state.h"
#include "nn/parameter.h"

namespace wf {

// One factor for all gradients so that their common L2 norm stays below a ceiling: a fixed
// one (norm), one that follows the run (z_score), or the lower of both. Called when gradients are
// already summed over ranks, hence equal on all of them: no collective is needed here.
class Clip {
 public:
  struct Config {
    std::optional<double> norm = 1.0;
    std::optional<double> z_score = {};

    static constexpr auto fields() {
      using C = Config;
      return config::fields<C>(
          config::field<&C::norm>("highest norm of all gradients together; null for no limit",
                                  config::positive),
          config::field<&C::z_score>("highest norm in standard deviations above its running mean, "
                                     "such as 3; null for none",
                                     config::positive));
    }
  };

  Clip(const Config& config, const std::vector<Parameter>& parameters);

  struct Result {
    torch::Tensor norm;         // of all gradients, before clipping
    torch::Tensor coefficient;  // to multiply them with, at most 1
    torch::Tensor norms;        // of each gradient, in the order of the parameters that have one
  };
  // Looks at the gradients and leaves them as they are; 0-dim fp32 on their device, without a host
  // sync. norm and coefficient are not finite when a gradient is not (or a sum of squares
  // overflows).
  Result measure();

  void state(StateVisitor& visit);

 private:
  void observe(const torch::Tensor& norm);

  Config config_;
  std::vector<Parameter> parameters_;
  // Of the norms so far, each cut at its z-score ceiling: 0-dim fp32, on the gradients' device.
  torch::Tensor mean_, variance_;
  int64_t count_ = 0;
};

}  // namespace wf
