// From a YAML file and the command line to a checked config, and back to text.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"

namespace wf::config {

// The file with what it extends, then the overrides, merged. Throws Error when a file is missing or
// not YAML.
Tree load_tree(const std::filesystem::path& file, const std::vector<std::string>& overrides,
               Problems& problems);

// The lines of `help` at or below `section` (all when empty) as an aligned table. Throws Error,
// with a suggestion, when there is no such section.
std::string help_table(const Help& help, std::string_view section);

struct Change {
  std::string key, before, after;  // "(absent)" where only the other side has the key

  std::string str() const;  // "optim.lr: 0.001 -> 0.002"
};
std::vector<Change> changes(const Tree& before, const Tree& after);

template <Section T>
Help help() {
  Help out;
  explain_section("", T{}, out);
  return out;
}

template <Section T>
T read_config(Tree tree, Problems& problems) {
  if (tree.kind == Tree::Kind::kNull) tree.kind = Tree::Kind::kMap;  // an empty file: all defaults
  T config{};
  read_value(tree, "", config, problems);
  if (!problems.list.empty()) {
    std::vector<std::string> keys;
    for (const HelpLine& line : help<T>().lines) keys.push_back(line.key);
    suggest_elsewhere(problems, keys);
    problems.throw_if_any();
  }
  return config;
}

// The config that `file` and the overrides ("optim.lr=3e-4") describe. Throws one Error with every
// problem of every file and of the command line, a line each: "stage2.yaml:6: optim.lr: expected a
// number, got 'x'".
template <Section T>
T load(const std::filesystem::path& file, const std::vector<std::string>& overrides = {}) {
  Problems problems;
  return read_config<T>(load_tree(file, overrides, problems), problems);
}

// The same from text, without `extends:`; `name` stands for the file in messages.
template <Section T>
T parse(const std::string& text, const std::string& name = "text") {
  Problems problems;
  return read_config<T>(parse_yaml(text, name, problems), problems);
}

// Every key as YAML; loading it again gives the same config.
template <Section T>
std::string print_config(const T& config) {
  return to_yaml(write_value(config));
}

// `--help [section]`: key, type, default and help of every option in the section.
template <Section T>
std::string explain(std::string_view section = {}) {
  return help_table(help<T>(), section);
}

// The keys whose printed values differ.
template <Section T>
std::vector<Change> changes(const T& before, const T& after) {
  return changes(write_value(before), write_value(after));
}

}  // namespace wf::config
