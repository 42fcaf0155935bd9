// A configuration in miniature that uses every feature of the layer once.
#pragma once
#include <array>
#include <optional>

#include "config/load.h"
#include "config/registry.h"

namespace wf::example {

using config::field;

struct Gain {  // what a run hands to the objects it builds
  double value = 1;
};

struct Objective {
  virtual ~Objective() = default;
  virtual double loss(double x) const = 0;
};

const config::Registry<Objective, Gain&>& objectives();

struct CrossEntropy : Objective {
  struct Config {
    double z_loss = 0.0;
    static constexpr auto fields() {
      return config::fields<Config>(
          field<&Config::z_loss>("weight of the penalty", config::non_negative));
    }
  };
  CrossEntropy(const Config& config, Gain& gain) : z_loss(config.z_loss), gain(gain) {}
  double loss(double x) const override { return gain.value * x + z_loss; }
  double z_loss;
  Gain& gain;
};

enum class Weights { kUniform, kProgressive };

struct Layerwise : Objective {
  struct Config {
    Weights weights = Weights::kProgressive;
    double temperature = 1.0;
    static constexpr auto fields();
  };
  Layerwise(const Config& config, Gain&) : temperature(config.temperature) {}
  double loss(double x) const override { return x * temperature; }
  double temperature;
};

struct Term {
  double weight = 1.0;
  config::Choice<objectives> objective;
  static constexpr auto fields() {
    return config::fields<Term>(field<&Term::weight>("factor", config::positive),
                                field<&Term::objective>("what to add"));
  }
};

struct Sum : Objective {
  struct Config {
    std::vector<Term> terms;
    static constexpr auto fields() {
      return config::fields<Config>(
          field<&Config::terms>("the summands", config::required, config::non_empty));
    }
  };
  Sum(const Config& config, Gain& gain) {
    for (const Term& term : config.terms)
      parts.emplace_back(term.weight, term.objective.build(gain));
  }
  double loss(double x) const override {
    double sum = 0;
    for (const auto& [weight, part] : parts) sum += weight * part->loss(x);
    return sum;
  }
  std::vector<std::pair<double, std::unique_ptr<Objective>>> parts;
};

struct Optim {
  double lr = 1e-3;
  int64_t warmup_steps = 100;
  std::optional<double> clip = 1.0;
  std::vector<double> betas = {0.9, 0.95};
  static constexpr auto fields() {
    using C = Optim;
    return config::fields<C>(field<&C::lr>("peak learning rate", config::positive),
                             field<&C::warmup_steps>("linear warm-up", config::non_negative),
                             field<&C::clip>("gradient-norm ceiling; null: none", config::positive),
                             field<&C::betas>("moment decays", config::each(config::fraction)));
  }
};

struct Teacher {
  std::filesystem::path folder;
  bool trainable = false;
  static constexpr auto fields() {
    return config::fields<Teacher>(field<&Teacher::folder>("its checkpoint", config::required),
                                   field<&Teacher::trainable>("whether it learns too"));
  }
};

struct RunConfig {
  std::string name;
  int64_t steps = 1000;
  int32_t seed = 1;
  bool resume = true;
  float dropout = 0.1f;
  std::filesystem::path folder = "run/here";
  std::vector<std::string> notes;
  std::optional<std::string> comment;
  Optim optim;
  std::optional<Teacher> teacher;
  config::Choice<objectives> objective{"cross_entropy"};
  static constexpr auto fields() {
    using C = RunConfig;
    return config::fields<C>(
        field<&C::name>("names the output folder", config::required, config::non_empty),
        field<&C::steps>("optimizer steps", config::positive),
        field<&C::seed>("of all random numbers"),
        field<&C::resume>("continue from the newest checkpoint"),
        field<&C::dropout>("share of dropped units", config::fraction),
        field<&C::folder>("where the run lives"), field<&C::notes>("for the reader"),
        field<&C::comment>("more for the reader"), field<&C::optim>("optimizer"),
        field<&C::teacher>("whom to imitate"), field<&C::objective>("what is minimised"));
  }
  void validate(const config::Report& problem) const {
    if (optim.warmup_steps > steps)
      problem("optim.warmup_steps",
              fmt::format("{} is above steps = {}", optim.warmup_steps, steps));
    if (objective.kind() == "layerwise" && !teacher)
      problem("objective.kind", "layerwise needs a teacher");
  }
};

}  // namespace wf::example

template <>
inline constexpr auto wf::config::names<wf::example::Weights> =
    std::array{std::pair{std::string_view("uniform"), wf::example::Weights::kUniform},
               std::pair{std::string_view("progressive"), wf::example::Weights::kProgressive}};

namespace wf::example {

constexpr auto Layerwise::Config::fields() {
  return config::fields<Config>(
      field<&Config::weights>("how layers are weighted against one another"),
      field<&Config::temperature>("softmax temperature", config::positive));
}

inline const config::Registry<Objective, Gain&>& objectives() {
  using config::entry;
  static const config::Registry<Objective, Gain&> table{
      "objective",
      {entry<CrossEntropy, Objective, Gain&>("cross_entropy", "next-token prediction"),
       entry<Layerwise, Objective, Gain&>("layerwise", "match hidden states"),
       entry<Sum, Objective, Gain&>("sum", "several, weighted")}};
  return table;
}

// What load or parse has to say against a configuration.
template <class Attempt>
std::string complaint(Attempt attempt) {
  try {
    attempt();
  } catch (const Error& error) {
    return error.what();
  }
  return "no complaint";
}

inline std::string complaint_about(const std::string& text) {
  return complaint([&] { config::parse<RunConfig>(text, "a.yaml"); });
}

}  // namespace wf::example
