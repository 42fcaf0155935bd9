// How one value is read from a scalar, written as one, and named in messages and --help.
#pragma once
#include <charconv>
#include <cmath>
#include <concepts>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "config/tree.h"

namespace wf::config {

template <class T>
struct Codec;

// An enum becomes readable by specialising this with its texts:
//   template <> inline constexpr auto config::names<Mode> =
//       std::array{std::pair{std::string_view("none"), Mode::kNone}, ...};
template <class E>
constexpr std::nullptr_t names = nullptr;

template <class T>
concept Named = !std::is_same_v<std::remove_cvref_t<decltype(names<T>)>, std::nullptr_t>;

namespace detail {

std::string without_separators(std::string_view digits);  // 10_000_000 is a number
std::string shortest_float(std::string digits);           // 1 -> 1.0, 1e-05 -> 1.0e-05

template <class T>
bool read_number(const Tree& tree, T& value) {
  if (tree.quoted) return false;
  const std::string digits = without_separators(tree.scalar);
  const auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return bad == std::errc{} && end == digits.data() + digits.size();
}

}  // namespace detail

template <std::integral T>
struct Codec<T> {
  static std::string type() { return "int"; }
  static std::string expected() {
    if constexpr (std::is_same_v<T, int64_t>) return "a whole number";
    using Limits = std::numeric_limits<T>;
    return fmt::format("a whole number from {} to {}", Limits::min(), Limits::max());
  }
  static Tree write(T value) { return Tree::plain(fmt::format("{}", value)); }
  static bool read(const Tree& tree, T& value) { return detail::read_number(tree, value); }
};

template <>
struct Codec<bool> {
  static std::string type() { return "bool"; }
  static std::string expected() { return "true or false"; }
  static Tree write(bool value) { return Tree::plain(value ? "true" : "false"); }
  static bool read(const Tree& tree, bool& value) {
    value = tree.scalar == "true";
    return !tree.quoted && (value || tree.scalar == "false");
  }
};

template <std::floating_point T>
struct Codec<T> {
  static std::string type() { return "float"; }
  static std::string expected() { return "a number"; }
  static Tree write(T value) {
    return Tree::plain(detail::shortest_float(fmt::format("{}", value)));
  }
  static bool read(const Tree& tree, T& value) {
    return detail::read_number(tree, value) && std::isfinite(value);
  }
};

template <>
struct Codec<std::string> {
  static std::string type() { return "text"; }
  static std::string expected() { return "text"; }
  static Tree write(const std::string& value) { return Tree::text(value); }
  static bool read(const Tree& tree, std::string& value) {
    value = tree.scalar;
    return true;
  }
};

template <>
struct Codec<std::filesystem::path> {  // as written: relative to the current directory
  static std::string type() { return "path"; }
  static std::string expected() { return "a path"; }
  static Tree write(const std::filesystem::path& value) { return Tree::text(value.string()); }
  static bool read(const Tree& tree, std::filesystem::path& value) {
    value = tree.scalar;
    return true;
  }
};

template <Named E>
struct Codec<E> {
  static std::string type() { return joined("|"); }
  static std::string expected() { return "one of " + joined(", "); }
  static Tree write(E value) {
    for (const auto& [text, named] : names<E>)
      if (named == value) return Tree::text(std::string(text));
    fail("an enum value has no name among {}", type());
  }
  static bool read(const Tree& tree, E& value) {
    for (const auto& [text, named] : names<E>) {
      if (text != tree.scalar) continue;
      value = named;
      return true;
    }
    return false;
  }

 private:
  static std::string joined(std::string_view separator) {
    std::string all;
    for (const auto& [text, value] : names<E>)
      all += fmt::format("{}{}", all.empty() ? "" : separator, text);
    return all;
  }
};

}  // namespace wf::config
