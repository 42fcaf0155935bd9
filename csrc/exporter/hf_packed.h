// A transformers folder of packed codes: four ternary weights a byte, and Δ.
#pragma once
#include "config/field.h"
#include "exporter/exporter.h"

namespace wf {

// Every float tensor is f32: transformers wants one dtype for all of them, and bf16 would round Δ.
// Models with biases are refused: transformers (5.23) computes (T·x + b)·Δ where T·x·Δ + b was
// trained.
class HfPacked : public Exporter {
 public:
  struct Config {
    static constexpr auto fields() { return config::fields<Config>(); }
  };
  explicit HfPacked(const Config&) {}
  void write(const Exported& exported, const std::filesystem::path& folder) override;
};

}  // namespace wf
