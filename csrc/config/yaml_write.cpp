#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "config/yaml.h"

namespace wf::config {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Whether some YAML reader, ours or Python's, would take the bare text for something else.
bool needs_quotes(const std::string& text) {
  constexpr std::array<std::string_view, 13> kWords = {
      "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan", "inf", "nan"};
  constexpr std::string_view kInside = "_./+@= -";
  if (text.empty()) return true;
  const char first = text.front();
  if (!is_letter(first) && !is_digit(first) && first != '_' && first != '.' && first != '/')
    return true;
  if (text.back() == ' ') return true;
  if (!std::all_of(text.begin(), text.end(), [&](char c) {
        return is_letter(c) || is_digit(c) || kInside.find(c) != kInside.npos;
      }))
    return true;
  if ((is_digit(first) || first == '.') &&
      text.find_first_not_of("0123456789abcdefABCDEFxXoO_.+-") == text.npos)
    return true;  // a number, a date, the end-of-document mark
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return std::find(kWords.begin(), kWords.end(), lower) != kWords.end();
}

void write_block(const Tree& tree, int indent, std::string& out) {
  const std::string pad(indent, ' ');
  if (is_flow(tree)) {
    out += fmt::format("{}{}\n", pad, to_flow(tree));
  } else if (tree.kind == Tree::Kind::kList) {
    for (const Tree& item : tree.items) {
      const std::size_t start = out.size();
      write_block(item, indent + 2, out);
      out[start + indent] = '-';  // in place of the item's first blank
    }
  } else {
    for (std::size_t i = 0; i < tree.items.size(); ++i) {
      if (is_flow(tree.items[i])) {
        out += fmt::format("{}{}: {}\n", pad, tree.keys[i], to_flow(tree.items[i]));
      } else {
        out += fmt::format("{}{}:\n", pad, tree.keys[i]);
        write_block(tree.items[i], indent + 2, out);
      }
    }
  }
}

}  // namespace

std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + "\"";
}

bool is_flow(const Tree& tree) {
  if (tree.kind == Tree::Kind::kMap) return tree.items.empty();
  return std::all_of(tree.items.begin(), tree.items.end(), is_flow);
}

std::string to_flow(const Tree& tree) {
  if (tree.kind == Tree::Kind::kNull) return "null";
  if (tree.kind == Tree::Kind::kMap) return "{}";
  if (tree.kind == Tree::Kind::kScalar)
    return tree.quoted && needs_quotes(tree.scalar) ? quote(tree.scalar) : tree.scalar;
  std::string items;
  for (const Tree& item : tree.items) items += (items.empty() ? "" : ", ") + to_flow(item);
  return "[" + items + "]";
}

std::string to_yaml(const Tree& tree) {
  std::string out;
  write_block(tree, 0, out);
  return out;
}

}  // namespace wf::config
