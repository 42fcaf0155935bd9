// Muon: momentum, made orthogonal, for the matrices of the blocks; AdamW for all the rest.
// Jordan et al., https://kellerjordan.github.io/posts/muon/; learning-rate matching and decoupled
// decay: Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982.
#pragma once
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "config/codec.h"
#include "optim/adamw.h"

namespace wf {

// An orthogonal [A, B] update has RMS 1/√max(A, B). The learning rate is multiplied by
enum class MuonLrAdjust {
  kMatchRmsAdamW,  // 0.2 √max(A, B): an RMS of 0.2 like AdamW's, whose learning rates carry over
  kOriginal,       // √max(1, A/B)
};

template <>
inline constexpr auto config::names<MuonLrAdjust> =
    std::array{std::pair{std::string_view("match_rms_adamw"), MuonLrAdjust::kMatchRmsAdamW},
               std::pair{std::string_view("original"), MuonLrAdjust::kOriginal}};

class Muon : public Optimizer {
 public:
  struct Config {
    double momentum = 0.95;
    MuonLrAdjust lr_adjust = MuonLrAdjust::kMatchRmsAdamW;
    double beta1 = AdamW::Config{}.beta1;
    double beta2 = AdamW::Config{}.beta2;
    double eps = AdamW::Config{}.eps;
    RoleSettings roles = {};

    AdamW::Config adamw() const { return {beta1, beta2, eps, roles}; }

    static constexpr auto fields() {
      using C = Config;
      return config::fields<C>(
          config::field<&C::momentum>("Nesterov momentum of the matrices", config::fraction),
          config::field<&C::lr_adjust>("how a matrix's shape scales its learning rate"),
          config::field<&C::beta1>("AdamW part: decay of the mean of gradients", config::fraction),
          config::field<&C::beta2>("AdamW part: decay of the mean of squares", config::fraction),
          config::field<&C::eps>("AdamW part: added to the root", config::positive),
          config::field<&C::roles>("settings for each kind of parameter"));
    }
    void validate(auto problem) const {
      adamw().validate(problem);
      if (momentum == 1) problem("momentum", "expected a value below 1");
    }
  };

  Muon(const Config& config, const std::vector<Parameter>& parameters);

  void step(double lr, const torch::Tensor& coefficient = {}) override;
  void state(StateVisitor& visit) override;

 private:
  struct Matrix {
    Parameter parameter;
    double lr_multiplier, weight_decay;
    torch::Tensor momentum_buffer;  // like the parameter
  };
  Muon(const Config& config, const std::vector<Group>& groups);

  Config config_;
  std::vector<Matrix> matrices_;
  AdamW adamw_;
};

// Roughly the nearest matrix whose rows or columns, whichever are fewer, are orthonormal: singular
// values land between about 0.7 and 1.2. [A, B] in, bf16 [A, B] out.
torch::Tensor orthogonalize(const torch::Tensor& matrix);

}  // namespace wf
