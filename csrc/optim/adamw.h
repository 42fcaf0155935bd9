// Adam with decoupled weight decay: Loshchilov and Hutter, arXiv 1711.05101.
#pragma once
#include <string_view>
#include <vector>

#include "optim/groups.h"
#include "optim/optimizer.h"

namespace wf {

// Parameters and moments are fp32; one fused kernel updates all of them on a GPU (a group on a
// CPU). A parameter that has no gradient (the objective does not reach it) is left as it is, as in
// torch.optim.
class AdamW : public Optimizer {
 public:
  struct Config {
    double beta1 = 0.9;
    double beta2 = 0.95;
    double eps = 1e-8;
    RoleSettings roles = {};

    static constexpr auto fields() {
      using C = Config;
      return config::fields<C>(
          config::field<&C::beta1>("decay of the mean of gradients", config::fraction),
          config::field<&C::beta2>("decay of the mean of squared gradients", config::fraction),
          config::field<&C::eps>("added to the root of the second moment", config::positive),
          config::field<&C::roles>("settings for each kind of parameter"));
    }
    void validate(auto problem) const {
      if (beta1 == 1) problem("beta1", "expected a value below 1");
      if (beta2 == 1) problem("beta2", "expected a value below 1");
    }
  };

  AdamW(const Config& config, const std::vector<Parameter>& parameters);
  AdamW(const Config& config, const std::vector<Group>& groups);  // roles are in the groups already

  void step(double lr, const torch::Tensor& coefficient = {}) override;
  void state(StateVisitor& visit) override;

 private:
  struct Slot {
    Parameter parameter;
    torch::Tensor exp_avg, exp_avg_sq;  // like the parameter
    torch::Tensor step;  // 0-dim fp32, beside the parameter: the fused kernel reads it there
  };
  struct SlotGroup {
    double lr_multiplier, weight_decay;
    std::vector<Slot> slots;
  };
  bool step_by_kernel(double lr, const torch::Tensor& coefficient);

  Config config_;
  std::vector<SlotGroup> groups_;
  int64_t steps_ = -1;  // of every slot, on the host; -1: not looked at yet
};

}  // namespace wf
