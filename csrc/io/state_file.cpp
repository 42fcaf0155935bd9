#include "io/state_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "formats/json.h"
#include "io/tensor_file.h"

namespace wf {
namespace {

// JSON has no way to write these three.
constexpr double kInfinity = std::numeric_limits<double>::infinity();

nlohmann::json to_json(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

}  // namespace

void StateSaver::claim(const std::string& name) {
  if (!names_.insert(name).second) fail("two parts of the state are named '{}'", name);
}

void StateSaver::operator()(const std::string& name, torch::Tensor& value) {
  claim(name);
  if (!value.defined()) fail("state '{}' is an undefined tensor and cannot be saved", name);
  tensors_.push_back({name, value});
}

void StateSaver::operator()(const std::string& name, int64_t& value) {
  claim(name);
  integers_[name] = value;
}

void StateSaver::operator()(const std::string& name, double& value) {
  claim(name);
  doubles_[name] = value;
}

nlohmann::json StateSaver::numbers() const {
  nlohmann::json doubles = nlohmann::json::object();
  for (const auto& [name, value] : doubles_) doubles[name] = to_json(value);
  return {{"integers", integers_}, {"doubles", doubles}};
}

StateLoader::StateLoader(const std::filesystem::path& tensors, const std::filesystem::path& numbers)
    : tensors_(tensors), numbers_path_(numbers.string()), numbers_(read_json(numbers)) {
  for (const auto& name : tensors_.names()) unread_.insert(name);
  for (const char* kind : {"integers", "doubles"}) {
    if (!numbers_.is_object() || !numbers_[kind].is_object())
      fail("{}: has no '{}'", numbers_path_, kind);
    for (const auto& [name, value] : numbers_[kind].items()) unread_.insert(name);
  }
}

void StateLoader::operator()(const std::string& name, torch::Tensor& value) {
  const torch::Tensor saved = as_torch(tensors_.tensor(name));
  unread_.erase(name);
  if (!value.defined()) {
    value = saved.clone();
    return;
  }
  if (saved.sizes() != value.sizes() || saved.scalar_type() != value.scalar_type())
    fail("{}: tensor '{}' is {} [{}], here it is {} [{}]", tensors_.path().string(), name,
         torch::toString(saved.scalar_type()), fmt::join(saved.sizes(), ", "),
         torch::toString(value.scalar_type()), fmt::join(value.sizes(), ", "));
  const torch::NoGradGuard no_grad;
  value.copy_(saved);
}

const nlohmann::json& StateLoader::number(const char* kind, const std::string& name) {
  const nlohmann::json& group = numbers_[kind];
  const auto found = group.find(name);
  if (found == group.end()) fail("{}: has no '{}' among its {}", numbers_path_, name, kind);
  unread_.erase(name);
  return *found;
}

void StateLoader::operator()(const std::string& name, int64_t& value) {
  const nlohmann::json& saved = number("integers", name);
  if (!saved.is_number_integer() ||
      (saved.is_number_unsigned() && saved.get<uint64_t>() > INT64_MAX))
    fail("{}: '{}' is {}, not a whole number of 64 bits", numbers_path_, name, saved.dump());
  value = saved.get<int64_t>();
}

void StateLoader::operator()(const std::string& name, double& value) {
  const nlohmann::json& saved = number("doubles", name);
  if (saved.is_number())
    value = saved.get<double>();
  else if (saved == "nan")
    value = std::numeric_limits<double>::quiet_NaN();
  else if (saved == "inf" || saved == "-inf")
    value = saved == "inf" ? kInfinity : -kInfinity;
  else
    fail("{}: '{}' is {}, not a number", numbers_path_, name, saved.dump());
}

void StateLoader::finish() const {
  if (unread_.empty()) return;
  std::vector<std::string> first(unread_.begin(), unread_.end());
  first.resize(std::min<std::size_t>(first.size(), 5));
  fail("{} and {}: hold {} that nothing here uses: {}{}", tensors_.path().string(), numbers_path_,
       unread_.size() == 1 ? "an entry" : fmt::format("{} entries", unread_.size()),
       fmt::join(first, ", "), first.size() < unread_.size() ? ", ..." : "");
}

}  // namespace wf
