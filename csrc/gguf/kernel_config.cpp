#include "gguf/kernel_config.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace wf {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char letter) { return letter == ' ' || letter == '\t' || letter == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

int64_t* member(Tiling& tiling, std::string_view key) {
  return key == "m"     ? &tiling.rows
         : key == "k"   ? &tiling.columns
         : key == "bm"  ? &tiling.bm
         : key == "bk"  ? &tiling.bk
         : key == "bmm" ? &tiling.bmm
                        : nullptr;
}

}  // namespace

KernelConfig::KernelConfig(const std::filesystem::path& path) : where_(path.string()) {
  std::istringstream lines(read_text(path));
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::string_view text = trimmed(line);
    if (text.empty() || text[0] == ';' || text[0] == '#') continue;
    if (text.front() == '[' && text.back() == ']') {
      tilings_.emplace_back();
      continue;
    }
    const auto equals = text.find('=');
    int64_t* value = equals == text.npos || tilings_.empty()
                         ? nullptr
                         : member(tilings_.back(), trimmed(text.substr(0, equals)));
    const std::string_view digits = value ? trimmed(text.substr(equals + 1)) : text;
    if (!value || std::from_chars(digits.begin(), digits.end(), *value).ptr != digits.end())
      fail("{}:{}: '{}' is not one of [section], m=, k=, bm=, bk=, bmm= with a number", where_,
           number, text);
  }
}

const Tiling& KernelConfig::tiling(GgufType type, int64_t rows, int64_t columns, bool may_choose) {
  const auto found = std::find_if(tilings_.begin(), tilings_.end(), [&](const Tiling& tiling) {
    return tiling.rows == rows && tiling.columns == columns;
  });
  if (found == tilings_.end()) {
    if (!may_choose && tilings_.empty())
      fail("{} is missing beside the file: it tells the tiles that {} matrices are cut into",
           where_, gguf_type_name(type));
    if (!may_choose)
      fail("{}: has no section for matrices of m={} and k={}", where_, rows, columns);
    return tilings_.emplace_back(choose_tiling(type, rows, columns));
  }
  if (const auto problem = tiling_problem(type, *found))
    fail("{}: the section for m={} and k={} does not fit {}: {}", where_, rows, columns,
         gguf_type_name(type), *problem);
  return *found;
}

void KernelConfig::write(const std::filesystem::path& path) const {
  std::error_code absent;
  if (std::filesystem::equivalent(path, where_, absent)) return;  // it was read from there
  std::string text;
  for (std::size_t i = 0; i < tilings_.size(); ++i) {
    const Tiling& t = tilings_[i];
    text += fmt::format("[Kernels_{}]\nm = {}\nk = {}\nbm = {}\nbk = {}\nbmm = {}\n\n", i, t.rows,
                        t.columns, t.bm, t.bk, t.bmm);
  }
  if (std::filesystem::exists(path) && read_text(path) != text)
    fail(
        "{}: is there with other tiles, which files beside it may need: choose another folder for "
        "-o, or give it as --kernel-config",
        path.string());
  write_text(path, text);
}

}  // namespace wf
