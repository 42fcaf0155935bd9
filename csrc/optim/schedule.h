// A value that changes over a run: the learning rate, λ (quantisation strength), a loss weight.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/check.h"
#include "config/codec.h"
#include "config/field.h"

namespace wf {

// Every kind is a line through a few points. Steps count 0 .. steps-1, so step 0 takes the first
// value and step steps-1 the last one, both exactly.
//
//             value ________________
//                  /                \            W = warmup_steps
//           start /                  \ final     D = round(decay * steps), at least 1
//                 0   W    steps-1-D  steps-1
//
// constant   start at 0, straight to value at W, value from there on
// linear     ... from value at W straight to final at steps-1; without `final`, value from W on
// cosine     ... from value at W along half a cosine to final at steps-1
// wsd        ... value from W to steps-1-D, then straight to final at steps-1: D steps lie below
//            value (warm-up, stable, decay: Hu et al., MiniCPM, arXiv 2404.06395)
// piecewise  straight lines through (points[i] * (steps-1), value * values[i]); two equal points
//            make a jump, taken at the point itself; the warm-up, if any, ends on that curve at W
//
// With start: 0 and a warm-up the first step of a learning rate is 0. A fall without room (a run of
// one step, say) does not begin: the value before it counts. Beyond the end the last value stays.
struct Schedule {
  enum class Kind { kConstant, kLinear, kCosine, kWsd, kPiecewise };

  Kind kind = Kind::kConstant;
  double value = 1;
  int64_t warmup_steps = 0;
  double start = 0;
  std::optional<double> final = {};
  double decay = 0.2;
  std::vector<double> points = {};
  std::vector<double> values = {};

  double at(int64_t step, int64_t steps) const;

  // What does not fit a run of `steps` steps, as a sentence; empty when all fits.
  std::string problem(int64_t steps) const;

  static constexpr auto fields() {
    using C = Schedule;
    return config::fields<C>(
        config::field<&C::kind>("shape after the warm-up"),
        config::field<&C::value>("the value after the warm-up", config::non_negative),
        config::field<&C::warmup_steps>("steps from start to value", config::non_negative),
        config::field<&C::start>("value at step 0 of a warm-up", config::non_negative),
        config::field<&C::final>("value at the last step of linear, cosine and wsd",
                                 config::non_negative),
        config::field<&C::decay>("wsd: share of the run's steps that fall", config::fraction),
        config::field<&C::points>("piecewise: where, as shares of the run, from 0 to 1",
                                  config::each(config::fraction)),
        config::field<&C::values>("piecewise: values at the points, multiples of `value`",
                                  config::each(config::non_negative)));
  }
  void validate(auto problem) const {
    if (const auto [key, text] = contradiction(); !text.empty()) problem(key, text);
  }

 private:
  std::pair<std::string_view, std::string> contradiction() const;  // key, sentence
  double shape(int64_t step, int64_t steps) const;                 // without the warm-up
  int64_t decay_steps(int64_t steps) const;
};

template <>
inline constexpr auto config::names<Schedule::Kind> =
    std::array{std::pair{std::string_view("constant"), Schedule::Kind::kConstant},
               std::pair{std::string_view("linear"), Schedule::Kind::kLinear},
               std::pair{std::string_view("cosine"), Schedule::Kind::kCosine},
               std::pair{std::string_view("wsd"), Schedule::Kind::kWsd},
               std::pair{std::string_view("piecewise"), Schedule::Kind::kPiecewise}};

}  // namespace wf
