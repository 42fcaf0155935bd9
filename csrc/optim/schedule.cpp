#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace wf {

namespace {

// From a to b as t goes from 0 to 1, exact at both ends.
double between(double a, double b, double t) { return t <= 0 ? a : t >= 1 ? b : a + (b - a) * t; }

// How far `x` is from `begin` to `end`, 0 .. 1; 0 where there is no way to go.
double progress(double x, double begin, double end) {
  return end <= begin ? 0 : std::clamp((x - begin) / (end - begin), 0.0, 1.0);
}

// The polyline through (points[i], values[i]) at x; of equal points the last one counts.
double polyline(const std::vector<double>& points, const std::vector<double>& values, double x) {
  const auto right = std::upper_bound(points.begin(), points.end(), x) - points.begin();
  if (right == std::ssize(points)) return values.back();
  return between(values[right - 1], values[right], progress(x, points[right - 1], points[right]));
}

}  // namespace

int64_t Schedule::decay_steps(int64_t steps) const {
  return std::max<int64_t>(1, std::llround(decay * static_cast<double>(steps)));
}

double Schedule::shape(int64_t step, int64_t steps) const {
  const int64_t last = steps - 1;
  const double end = final.value_or(value);
  const double way = progress(step, warmup_steps, last);
  switch (kind) {
    case Kind::kConstant:
      return value;
    case Kind::kLinear:
      return between(value, end, way);
    case Kind::kCosine:
      return between(value, end, (1 - std::cos(std::numbers::pi * way)) / 2);
    case Kind::kWsd: {
      const int64_t begin = std::max(warmup_steps, last - decay_steps(steps));
      return between(value, end, progress(step, begin, last));
    }
    case Kind::kPiecewise:
      break;
  }
  return value * polyline(points, values, progress(step, 0, last));
}

double Schedule::at(int64_t step, int64_t steps) const {
  if (step >= warmup_steps) return shape(step, steps);
  return between(start, shape(warmup_steps, steps), progress(step, 0, warmup_steps));
}

std::string Schedule::problem(int64_t steps) const {
  if (warmup_steps == 0) return {};
  if (warmup_steps >= steps)
    return fmt::format("warmup_steps = {} does not end within a run of {} steps", warmup_steps,
                       steps);
  const bool falls = kind != Kind::kConstant && kind != Kind::kPiecewise && final;
  const int64_t fall = kind == Kind::kWsd ? decay_steps(steps) : 1;
  if (falls && warmup_steps + fall > steps - 1)
    return fmt::format("warmup_steps = {} leaves no room for a fall of {} steps in a run of {}",
                       warmup_steps, fall, steps);
  return {};
}

std::pair<std::string_view, std::string> Schedule::contradiction() const {
  if ((kind == Kind::kCosine || kind == Kind::kWsd) && !final)
    return {"final", "cosine and wsd need the value to end at, such as 0"};
  if (kind == Kind::kWsd && decay == 0) return {"decay", "wsd needs a share above 0"};
  if (kind != Kind::kPiecewise) {
    if (!points.empty()) return {"points", "only kind piecewise has points"};
    if (!values.empty()) return {"values", "only kind piecewise has values"};
    return {};
  }
  if (points.size() < 2 || points.front() != 0 || points.back() != 1 ||
      !std::ranges::is_sorted(points))
    return {"points", "expected shares of the run that rise from 0 to 1, such as [0, 0.5, 1]"};
  if (values.size() != points.size())
    return {"values",
            fmt::format("there are {} values for {} points", values.size(), points.size())};
  return {};
}

}  // namespace wf
