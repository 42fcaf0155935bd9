#include "config/codec.h"

namespace wf::config::detail {

std::string without_separators(std::string_view digits) {
  auto is_digit = [&](std::size_t i) { return digits[i] >= '0' && digits[i] <= '9'; };
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool between_digits =
        i > 0 && i + 1 < digits.size() && is_digit(i - 1) && is_digit(i + 1);
    if (digits[i] != '_' || !between_digits) out += digits[i];
  }
  return out;
}

// With the point, Python's YAML reader takes it for a number too.
std::string shortest_float(std::string digits) {
  if (digits.find_first_of(".n") != digits.npos) return digits;  // n: inf, nan
  const auto exponent = digits.find('e');
  return digits.insert(exponent == digits.npos ? digits.size() : exponent, ".0");
}

}  // namespace wf::config::detail
