// Everything that is wrong with a configuration, gathered so that one run reports it all.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "config/tree.h"

namespace wf::config {

struct Problem {
  Origin at;
  std::string key, what;
  bool unknown_key = false;  // and nothing in its own section is spelt alike

  std::string str() const;  // "stage2.yaml:6: optim.lr: expected a value > 0, got '-1'"
};

struct Problems {
  std::vector<Problem> list;

  void add(const Origin& at, std::string_view key, std::string_view what);
  bool touch(std::string_view key) const;  // whether one is about `key` or something inside it
  void throw_if_any();  // one Error, a line each, by file and line, command line last
};

// The candidate spelt most like `word`; empty when none is near enough to be meant.
std::string closest(std::string_view word, const std::vector<std::string>& candidates);

// "; did you mean 'lr'?", or nothing.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

// Rounds off the unknown keys with what they are called elsewhere, or with the keys there are;
// `all_keys` are the dotted keys of the whole configuration, list items as "terms[].weight".
void suggest_elsewhere(Problems& problems, const std::vector<std::string>& all_keys);

}  // namespace wf::config
