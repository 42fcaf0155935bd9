#include "train/narrator.h"

#include <cmath>

#include "base/log.h"

namespace wf {

namespace {

std::string duration(double seconds) {
  const auto s = int64_t(std::max(seconds, 0.0) + 0.5);
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}m{:02}s", s / 60, s % 60);
}

std::string rate(double per_second) {
  return per_second >= 1e6   ? fmt::format("{:.2f}M", per_second / 1e6)
         : per_second >= 1e3 ? fmt::format("{:.1f}k", per_second / 1e3)
                             : fmt::format("{:.0f}", per_second);
}

}  // namespace

double flops_per_token(const DecoderConfig& c, int64_t sequence_length) {
  const double q = double(c.num_heads * c.head_dim), kv = double(c.num_kv_heads * c.head_dim);
  const double block = double(c.hidden_size) * (2 * q + 2 * kv + 3 * double(c.intermediate_size));
  const double head = double(c.vocab_size) * double(c.hidden_size);
  const double attention = q * double(sequence_length);  // q·kᵀ and p·v, half of the square
  return 6 * (double(c.num_layers) * (block + attention) + head);
}

Narrator::Narrator(const Hardware& hardware, Metrics& metrics, double flops_per_token,
                   int64_t first_step, int64_t steps)
    : hardware_(hardware),
      metrics_(metrics),
      flops_per_token_(flops_per_token),
      first_step_(first_step),
      steps_(steps) {}

double Narrator::seconds_since(Clock::time_point begin) const {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void Narrator::report(const Progress& now, int64_t tokens, const StepNumbers& numbers, double lr,
                      double quant, bool log_now) {
  const double elapsed = seconds_since(started_);
  const double tokens_per_s =
      double(window_tokens_) / std::max(seconds_since(window_started_), 1e-9);
  const double flops = tokens_per_s * flops_per_token_;
  const int64_t done = now.step + 1;
  const double remaining = elapsed / double(done - first_step_) * double(steps_ - done);
  const double memory = double(hardware_.memory_in_use());
  const std::string speed = hardware_.peak_flops
                                ? fmt::format("{:.1f} TFLOP/s ({:.0f} %)", flops / 1e12,
                                              100 * flops / *hardware_.peak_flops)
                                : fmt::format("{:.3g} TFLOP/s", flops / 1e12);
  log::live(fmt::format("{:3.0f} %  step {}/{}  loss {:.4f}  {} tok/s  {}  {:.1f} GB  {} left",
                        100.0 * double(done) / double(steps_), done, steps_, numbers.loss,
                        rate(tokens_per_s), speed, memory / 1e9, duration(remaining)));
  if (!log_now) return;

  if (!header_written_)
    log::say("{:>8} {:>10} {:>9} {:>10} {:>6} {:>8} {:>22} {:>8} {:>8}", "step", "loss", "gradient",
             "lr", "λ", "tok/s", "TFLOP/s", "GB", "left");
  header_written_ = true;
  // λ takes two bytes: one column more than it shows
  log::say("{:>8} {:>10.4f} {:>9.3f} {:>10.3e} {:>5.2f} {:>8} {:>22} {:>8.2f} {:>8}", done,
           numbers.loss, numbers.grad_norm, lr, quant, rate(tokens_per_s), speed, memory / 1e9,
           duration(remaining));
  nlohmann::ordered_json parts = nlohmann::ordered_json::object();
  for (const auto& [name, value] : numbers.parts) parts[name] = value;
  nlohmann::ordered_json line = {{"step", done},
                                 {"tokens", now.tokens + tokens},
                                 {"loss", numbers.loss},
                                 {"parts", parts},
                                 {"lr", lr},
                                 {"quant", quant},
                                 {"grad_norm", numbers.grad_norm},
                                 {"tokens_per_s", tokens_per_s},
                                 {"tflops", flops / 1e12},
                                 {"memory_gb", memory / 1e9},
                                 {"elapsed_s", elapsed},
                                 {"remaining_s", remaining}};
  if (hardware_.peak_flops) line["peak_share"] = flops / *hardware_.peak_flops;
  metrics_.write("train", line);
  window_tokens_ = 0;
  window_started_ = Clock::now();
}

void Narrator::evaluated(const Progress& now, double loss_full,
                         std::optional<double> loss_ternary) {
  nlohmann::ordered_json line = {{"step", now.step},
                                 {"tokens", now.tokens},
                                 {"loss_full", loss_full},
                                 {"perplexity_full", std::exp(loss_full)}};
  std::string text = fmt::format("{:>8} held-out loss: full precision {:.4f} (perplexity {:.2f})",
                                 now.step, loss_full, std::exp(loss_full));
  if (loss_ternary) {
    line["loss_ternary"] = *loss_ternary;
    line["perplexity_ternary"] = std::exp(*loss_ternary);
    text += fmt::format(", ternary {:.4f} ({:.2f})", *loss_ternary, std::exp(*loss_ternary));
  }
  log::say("{}", text);
  metrics_.write("eval", line);
  window_tokens_ = 0;  // time spent evaluating is no training time
  window_started_ = Clock::now();
}

}  // namespace wf
