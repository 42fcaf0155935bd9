// What a person sees of a training run: a live line on a terminal, an aligned line per logged step
// elsewhere.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "train/hardware.h"
#include "train/metrics.h"
#include "train/step.h"

namespace wf {

// Floating-point operations of one trained token: 6 for every weight of a matmul (head included),
// and causal attention.
double flops_per_token(const DecoderConfig& config, int64_t sequence_length);

class Narrator {
 public:
  Narrator(const Hardware& hardware, Metrics& metrics, double flops_per_token, int64_t first_step,
           int64_t steps);

  // Every step is counted; those whose numbers were read are shown, and with `log_now` get a line
  // of the log and of metrics.jsonl.
  void after_step(int64_t tokens) { window_tokens_ += tokens; }
  void report(const Progress& now, int64_t tokens, const StepNumbers& numbers, double lr,
              double quant, bool log_now);
  void evaluated(const Progress& now, double loss_full, std::optional<double> loss_ternary);

 private:
  using Clock = std::chrono::steady_clock;
  double seconds_since(Clock::time_point begin) const;

  const Hardware& hardware_;
  Metrics& metrics_;
  double flops_per_token_;
  int64_t first_step_, steps_;
  Clock::time_point started_ = Clock::now(), window_started_ = Clock::now();
  int64_t window_tokens_ = 0;  // since the last logged step
  bool header_written_ = false;
};

}  // namespace wf
