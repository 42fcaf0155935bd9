#include "gguf/gguf_validate.h"

#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include <atomic>
#include <cmath>
#include <map>
#include <ostream>
#include <set>

#include "base/error.h"
#include "base/float16.h"
#include "base/threads.h"
#include "gguf/float_blocks.h"
#include "gguf/gguf_keys.h"
#include "gguf/gguf_matrix.h"

namespace wf {
namespace {

// More zeros than any absmean of bell-shaped weights leaves (31 % of a Gaussian's), but what the
// largest weight of a block as scale makes of them.
constexpr double kTooManyZeros = 0.75;
constexpr double kScaleTolerance = 1e-3;  // of the detectors, not of the comparison

// The scale that the file should decode to: exact apart, rounded where the type holds it.
float expected_scale(const PlannedTensor& tensor) {
  const float scale = tensor.matrix->scale();
  if (tensor.stored_scale == 1) return scale;
  switch (tensor.info.type) {
    case GgufType::kTQ1_0:
    case GgufType::kTQ2_0:
    case GgufType::kQ2_0:
    case GgufType::kF16:
      return half_to_float(float_to_half(scale));
    case GgufType::kQ8_0:
      return half_to_float(float_to_half(scale / 127)) * 127;
    case GgufType::kBF16:
      return bfloat16_to_float(float_to_bfloat16(scale));
    default:
      return scale;
  }
}

// One check over many tensors: counts, and keeps the first that fail.
class Tally {
 public:
  explicit Tally(std::string check) : check_(std::move(check)) {}
  void pass() { ++count_; }
  template <class... Args>
  void fail_with(fmt::format_string<Args...> text, Args&&... args) {
    ++count_;
    failures_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }
  Finding finding(const std::string& what) const {
    if (failures_.empty()) return {check_, true, fmt::format("{} {}", count_, what)};
    const auto first = std::min<std::size_t>(failures_.size(), 3);
    return {check_, false,
            fmt::format("{} of {} {}: {}", failures_.size(), count_, what,
                        fmt::join(failures_.begin(), failures_.begin() + first, "; "))};
  }

 private:
  std::string check_;
  int64_t count_ = 0;
  std::vector<std::string> failures_;
};

class Validation {
 public:
  Validation(const Gguf& file, const GgufPlan& plan) : file_(file), plan_(plan) {}

  std::vector<Finding> run(const ShowProgress& progress) {
    check_size();
    check_metadata();
    check_tensors();
    kernels_ = kernels_beside(file_.path());
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      progress("validating", double(i) / double(plan_.tensors.size()));
      const PlannedTensor& tensor = plan_.tensors[i];
      const GgufTensor* stored = file_.find(tensor.info.name);
      if (!stored || stored->ne != tensor.info.ne || stored->type != tensor.info.type) continue;
      if (tensor.content == PlannedTensor::Content::kCodes)
        check_matrix(tensor, *stored);
      else if (tensor.content == PlannedTensor::Content::kFloats)
        check_floats(tensor, *stored);
      else if (tensor.content == PlannedTensor::Content::kRopeFactors)
        check_rope_factors(*stored);
    }
    findings_.push_back(floats_.finding("full-precision tensors have the checkpoint's values"));
    findings_.push_back(codes_.finding("matrices have the checkpoint's codes"));
    findings_.push_back(scales_.finding("matrices have the checkpoint's scale"));
    findings_.push_back(twice_.finding("matrices were ternarised once"));
    findings_.push_back(inverted_.finding("scales are Δ, not 1/Δ"));
    findings_.push_back(raw_.finding("matrices show no quantiser but absmean"));
    return std::move(findings_);
  }

 private:
  void check_size() {
    uint64_t end = file_.data_start();
    for (const auto& tensor : file_.tensors())
      end += (tensor.bytes + file_.alignment() - 1) / file_.alignment() * file_.alignment();
    const uint64_t size = std::filesystem::file_size(file_.path());
    findings_.push_back({"size", size == end,
                         size == end ? fmt::format("{} bytes, offsets without gaps", size)
                                     : fmt::format("{} bytes, expected {}", size, end)});
  }

  void check_metadata() {
    Tally tally("metadata");
    for (const auto& [key, value] : plan_.metadata.pairs()) {
      const GgufValue* found = file_.metadata().find(key);
      if (key == "general.name" || (found && *found == value))
        tally.pass();
      else
        tally.fail_with("'{}' {}", key, found ? "has another value or type" : "is missing");
    }
    findings_.push_back(tally.finding("keys as the architecture wants them"));
  }

  void check_tensors() {
    Tally tally("tensors");
    std::set<std::string> expected;
    for (const auto& tensor : plan_.tensors) {
      expected.insert(tensor.info.name);
      const GgufTensor* found = file_.find(tensor.info.name);
      if (!found)
        tally.fail_with("'{}' is missing", tensor.info.name);
      else if (found->ne != tensor.info.ne)
        tally.fail_with("'{}' has the shape {}, expected {}", found->name,
                        fmt::join(found->ne, "x"), fmt::join(tensor.info.ne, "x"));
      else if (found->type != tensor.info.type)
        tally.fail_with("'{}' is {}, expected {}", found->name, gguf_type_name(found->type),
                        gguf_type_name(tensor.info.type));
      else
        tally.pass();
    }
    for (const auto& tensor : file_.tensors())
      if (!expected.contains(tensor.name))
        tally.fail_with("'{}' has no place in {}", tensor.name, plan_.graph->arch);
    findings_.push_back(tally.finding(fmt::format("tensors of {}", plan_.graph->arch)));
  }

  void check_matrix(const PlannedTensor& tensor, const GgufTensor& stored) {
    const GgufMatrix matrix = read_gguf_matrix(file_, stored, kernels_);
    const int64_t rows = tensor.from.rows, columns = tensor.from.columns;
    std::vector<int8_t> truth(matrix.codes.size());
    tensor.matrix->codes(0, rows, truth.data());
    detect_quantiser(stored.name, truth, matrix);
    if (!matrix.problem.empty()) {
      codes_.fail_with("'{}': {}", stored.name, matrix.problem);
      return;
    }
    int64_t different = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = tensor.source_row(row);
      for (int64_t k = 0; k < columns; ++k)
        different += truth[from * columns + k] != matrix.codes[row * columns + k];
    }
    if (different)
      codes_.fail_with("'{}': {} of {} codes differ", stored.name, different, truth.size());
    else
      codes_.pass();

    const float scale = expected_scale(tensor);
    const bool shown = matrix.zeros < rows * columns || !is_float_type(stored.type);
    if (matrix.scale == scale || !shown)  // floats that are all zero show none
      scales_.pass();
    else
      scales_.fail_with("'{}': {} instead of {}", stored.name, matrix.scale, scale);
    detect_scale(stored.name, truth, matrix, scale);
  }

  // Every value, rounded to the type that the file has.
  void check_floats(const PlannedTensor& tensor, const GgufTensor& stored) {
    constexpr int64_t kRows = 64;  // at a time
    const int64_t rows = tensor.rows(), columns = tensor.columns();
    const auto bytes = file_.bytes(stored);
    const std::size_t row_bytes = bytes.size() / std::size_t(rows);
    std::atomic<int64_t> different = 0;
    parallel_for((rows + kRows - 1) / kRows, [&](int64_t chunk) {
      std::vector<float> values(static_cast<std::size_t>(columns));
      std::vector<std::byte> expected(row_bytes);
      for (int64_t row = kRows * chunk; row < std::min(rows, kRows * (chunk + 1)); ++row) {
        read_floats(tensor.floats, tensor.source_row(row) * columns, columns, values.data());
        encode_floats(stored.type, values, expected.data());
        different +=
            !std::ranges::equal(expected, bytes.subspan(std::size_t(row) * row_bytes, row_bytes));
      }
    });
    if (different)
      floats_.fail_with("'{}': {} of {} {} differ", stored.name, different.load(), rows,
                        tensor.is_vector() ? "values" : "rows");
    else
      floats_.pass();
  }

  void check_rope_factors(const GgufTensor& stored) {
    if (read_gguf_floats(file_, stored) == rope_factors(plan_.config))
      floats_.pass();
    else
      floats_.fail_with("'{}': other factors than config.json asks for", stored.name);
  }

  static double share_of_zeros(const std::vector<int8_t>& codes) {
    return double(std::ranges::count(codes, 0)) / double(codes.size());
  }

  void detect_scale(const std::string& name, const std::vector<int8_t>& truth,
                    const GgufMatrix& matrix, float scale) {
    const auto near = [](double a, double b) { return std::abs(a / b - 1) < kScaleTolerance; };
    const double zeros = share_of_zeros(truth);
    // A second absmean keeps the codes and multiplies the scale by the share of non-zeros.
    if (zeros > 0 && near(matrix.scale, double(scale) * (1 - zeros)))
      twice_.fail_with(
          "'{}': its scale is {:.3f} of the checkpoint's, the share of its non-zeros: "
          "absmean was taken twice",
          name, matrix.scale / scale);
    else
      twice_.pass();
    if (!near(scale, 1) && near(matrix.scale, 1 / double(scale)))
      inverted_.fail_with("'{}': {} is 1/{}", name, matrix.scale, scale);
    else
      inverted_.pass();
  }

  // Also of matrices whose blocks have scales of their own, as such quantisers leave them.
  void detect_quantiser(const std::string& name, const std::vector<int8_t>& truth,
                        const GgufMatrix& matrix) {
    const double zeros = double(matrix.zeros) / double(truth.size());
    if (zeros > kTooManyZeros && zeros > share_of_zeros(truth) + 0.1)
      raw_.fail_with("'{}': {:.0f} % zeros: a quantiser took the largest weight as its scale", name,
                     100 * zeros);
    else
      raw_.pass();
  }

  const Gguf& file_;
  const GgufPlan& plan_;
  KernelConfig kernels_;
  std::vector<Finding> findings_;
  Tally floats_{"floats"}, codes_{"codes"}, scales_{"scales"}, twice_{"double absmean"},
      inverted_{"inverted scale"}, raw_{"raw weights"};
};

}  // namespace

std::vector<Finding> validate_gguf(const std::filesystem::path& gguf, const GgufPlan& plan,
                                   const ShowProgress& progress) {
  const Gguf file(gguf);
  return Validation(file, plan).run(progress);
}

bool print_findings(const std::vector<Finding>& findings, std::ostream& out) {
  bool all = true;
  for (const auto& finding : findings) {
    all &= finding.passed;
    fmt::print(out, "{:<16} {:<6} {}\n", finding.check, finding.passed ? "ok" : "FAILED",
               finding.detail);
  }
  return all;
}

}  // namespace wf
