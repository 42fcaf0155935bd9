#include "config/problems.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "base/error.h"

namespace wf::config {

std::string Problem::str() const {
  if (key.empty()) return fmt::format("{}: {}", at.str(), what);
  return fmt::format("{}: {}: {}", at.str(), key, what);
}

void Problems::add(const Origin& at, std::string_view key, std::string_view what) {
  list.push_back({at, std::string(key), std::string(what)});
}

bool Problems::touch(std::string_view key) const {
  return std::any_of(list.begin(), list.end(), [&](const Problem& problem) {
    const std::string_view other = problem.key;
    return other.starts_with(key) &&
           (other.size() == key.size() || other[key.size()] == '.' || other[key.size()] == '[');
  });
}

void Problems::throw_if_any() {
  if (list.empty()) return;
  auto place = [](const Problem& problem) {
    return std::tuple(problem.at.file == kCommandLine, problem.at.file, problem.at.line);
  };
  std::stable_sort(list.begin(), list.end(),
                   [&](const auto& a, const auto& b) { return place(a) < place(b); });
  std::string text;
  for (const Problem& problem : list) {
    if (!text.empty()) text += '\n';
    text += problem.str();
  }
  throw Error(text);
}

namespace {

// How many letters must be inserted, deleted or replaced (Levenshtein).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t up = row[j];
      row[j] = std::min({up + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = up;
    }
  }
  return row.back();
}

// "terms[3].weight" -> "terms[].weight"
std::string without_indices(std::string_view key) {
  std::string out;
  bool inside = false;
  for (const char c : key) {
    if (c == ']') inside = false;
    if (!inside) out += c;
    if (c == '[') inside = true;
  }
  return out;
}

std::string_view last_step(std::string_view key) { return key.substr(key.rfind('.') + 1); }

std::string_view section_of(std::string_view key) {
  const auto dot = key.rfind('.');
  return dot == key.npos ? std::string_view() : key.substr(0, dot);
}

// "; batch has rows, sequence_length, accumulate"
std::string keys_beside(std::string_view key, const std::vector<std::string>& all_keys) {
  constexpr std::size_t kShort = 12;
  const std::string_view section = section_of(key);
  const std::string prefix = section.empty() ? "" : std::string(section) + '.';
  std::vector<std::string_view> beside;
  for (const std::string_view other : all_keys) {
    if (!other.starts_with(prefix)) continue;
    const std::string_view rest = other.substr(prefix.size());
    const std::string_view step = rest.substr(0, rest.find_first_of(".["));
    const bool row = step.find('=') != step.npos;  // "kind=adamw" heads the options of a kind
    if (!row && std::find(beside.begin(), beside.end(), step) == beside.end())
      beside.push_back(step);
  }
  if (beside.empty()) return "";
  if (beside.size() > kShort) return "; --help lists every key";
  const auto there = section.empty() ? "there are" : fmt::format("{} has", section);
  return fmt::format("; {} {}", there, fmt::join(beside, ", "));
}

}  // namespace

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.size() > 64) return "";  // nobody's spelling mistake, and slow to compare
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, (word.size() + 1) / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t d = distance(word, candidate);
    if (d < best_distance) {
      best = candidate;
      best_distance = d;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string near = closest(word, candidates);
  return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
}

void suggest_elsewhere(Problems& problems, const std::vector<std::string>& all_keys) {
  for (Problem& problem : problems.list) {
    if (!problem.unknown_key) continue;
    const std::string key = without_indices(problem.key);
    if (std::find(all_keys.begin(), all_keys.end(), key) != all_keys.end()) {
      problem.what += "; it belongs to another kind";
      continue;
    }
    const auto elsewhere =
        std::find_if(all_keys.begin(), all_keys.end(),
                     [&](const std::string& other) { return last_step(other) == last_step(key); });
    problem.what += elsewhere != all_keys.end() ? fmt::format("; did you mean '{}'?", *elsewhere)
                                                : keys_beside(key, all_keys);
  }
}

}  // namespace wf::config
