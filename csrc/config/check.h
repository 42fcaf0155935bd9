// Checks for the end of a field<> line. They look at values that were written, not at defaults; a
// null passes them. A check is a predicate and the words for what it wants.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace wf::config {

struct Required {  // no default makes sense: the YAML must say it
  std::string expected() const { return "a value"; }
  bool operator()(const auto&) const { return true; }
};

struct Positive {
  std::string expected() const { return "a value > 0"; }
  bool operator()(const auto& v) const { return v > 0; }
};

struct NonNegative {
  std::string expected() const { return "a value >= 0"; }
  bool operator()(const auto& v) const { return v >= 0; }
};

struct Between {  // both ends included
  double low, high;
  std::string expected() const { return fmt::format("a value from {} to {}", low, high); }
  bool operator()(const auto& v) const { return v >= low && v <= high; }
};

struct NonEmpty {
  std::string expected() const { return "a value that is not empty"; }
  bool operator()(const auto& v) const { return !v.empty(); }
};

template <class Check>
struct Each {  // of a list
  Check check;
  std::string expected() const { return check.expected() + " in every place"; }
  bool operator()(const auto& list) const { return std::all_of(list.begin(), list.end(), check); }
};

inline constexpr Required required;
inline constexpr Positive positive;
inline constexpr NonNegative non_negative;
inline constexpr Between fraction{0, 1};
inline constexpr NonEmpty non_empty;
constexpr Between between(double low, double high) { return {low, high}; }
constexpr auto each(auto check) { return Each<decltype(check)>{check}; }

}  // namespace wf::config
