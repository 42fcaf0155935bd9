// A transformers folder of float masters; a ternary model is quantised at every forward ("online").
#pragma once
#include "config/codec.h"
#include "config/field.h"
#include "exporter/exporter.h"

namespace wf {

enum class FloatType { kF32, kBf16 };
template <>
inline constexpr auto config::names<FloatType> =
    std::array{std::pair{std::string_view("f32"), FloatType::kF32},
               std::pair{std::string_view("bf16"), FloatType::kBf16}};

class HfLatent : public Exporter {
 public:
  struct Config {
    FloatType dtype = FloatType::kF32;
    static constexpr auto fields() {
      return config::fields<Config>(config::field<&Config::dtype>(
          "of the weights; bf16 halves the file and changes about 0.05 % of the ternary codes"));
    }
  };
  explicit HfLatent(const Config& config) : config_(config) {}
  void write(const Exported& exported, const std::filesystem::path& folder) override;

 private:
  Config config_;
};

}  // namespace wf
