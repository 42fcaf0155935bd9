// Distillation on logits: the student's next-token distribution follows the teacher's.
#pragma once
#include "config/check.h"
#include "config/field.h"
#include "objective/objective.h"

namespace wf {

class LogitsKl : public Objective {
 public:
  struct Config {
    double temperature = 1;
    static constexpr auto fields() {
      return config::fields<Config>(config::field<&Config::temperature>(
          "T of both softmaxes; the loss carries T², so that its gradient does not shrink",
          config::positive));
    }
  };
  explicit LogitsKl(const Config& config) : config_(config) {}
  bool needs_teacher() const override { return true; }
  Loss loss(const Trace& student, const Trace& teacher, const Batch& batch,
            const Progress& now) override;

 private:
  Config config_;
};

}  // namespace wf
