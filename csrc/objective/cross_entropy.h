// Next-token prediction: pre-training and stage 2.
#pragma once
#include "config/field.h"
#include "objective/objective.h"

namespace wf {

class CrossEntropy : public Objective {
 public:
  struct Config {
    static constexpr auto fields() { return config::fields<Config>(); }
  };
  explicit CrossEntropy(const Config&) {}
  Loss loss(const Trace& student, const Trace& teacher, const Batch& batch,
            const Progress& now) override;
};

}  // namespace wf
