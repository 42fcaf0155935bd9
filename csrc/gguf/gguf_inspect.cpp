#include "gguf/gguf_inspect.h"

#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include "gguf/gguf_matrix.h"

namespace wf {
namespace {

constexpr std::size_t kShownText = 80, kShownElements = 4;

std::string shown(const std::string& text) {
  std::string out;
  for (const char letter : text.substr(0, kShownText))
    out += letter == '\n' ? std::string("\\n") : std::string(1, letter);
  return text.size() > kShownText ? fmt::format("\"{}\"… ({} bytes)", out, text.size())
                                  : fmt::format("\"{}\"", out);
}

template <class T>
std::string shown(const T& value) {
  return fmt::format("{}", value);
}

std::string shown(const GgufArray& array) {
  return std::visit(
      [](const auto& list) -> std::string {
        if constexpr (std::is_same_v<std::decay_t<decltype(list)>, GgufNested>) {
          return "";
        } else {
          std::vector<std::string> first;
          for (std::size_t i = 0; i < std::min(list.size(), kShownElements); ++i)
            first.push_back(shown(typename std::decay_t<decltype(list)>::value_type(list[i])));
          return fmt::format("[{}{}] ({})", fmt::join(first, ", "),
                             list.size() > kShownElements ? ", …" : "", list.size());
        }
      },
      array);
}

std::string type_of(const GgufValue& value) {
  std::string name(gguf_value_type_name(value.index()));
  if (const auto* array = std::get_if<GgufArray>(&value))
    name = fmt::format("{}[]", gguf_value_type_name(array->index()));
  return name;
}

// Share of zeros and scale, or why there are none.
std::string ternary_facts(const Gguf& file, const GgufTensor& tensor, KernelConfig& kernels) {
  if (!is_block_matrix(tensor)) return "";
  try {
    const auto matrix = read_gguf_matrix(file, tensor, kernels);
    if (!matrix.problem.empty()) return "not ternary: " + matrix.problem;
    return fmt::format("{:5.1f} % zeros, scale {:.8g}",
                       100.0 * double(matrix.zeros) / double(matrix.codes.size()), matrix.scale);
  } catch (const Error& error) {  // a type not decoded here, a kernel_config.ini that is missing
    return error.what();
  }
}

}  // namespace

void inspect_gguf(const std::filesystem::path& path, std::ostream& out) {
  const Gguf file(path);
  KernelConfig kernels = kernels_beside(path);
  fmt::print(out, "{}: GGUF version {}, {} keys, {} tensors, data from byte {}, aligned to {}\n\n",
             path.string(), file.version(), file.metadata().pairs().size(), file.tensors().size(),
             file.data_start(), file.alignment());
  for (const auto& [key, value] : file.metadata().pairs())
    fmt::print(out, "{:<44} {:<9} {}\n", key, type_of(value),
               std::visit([](const auto& typed) { return shown(typed); }, value));
  fmt::print(out, "\n{:<34} {:<7} {:>14} {:>13}\n", "tensor", "type", "shape", "bytes");
  for (const auto& tensor : file.tensors())
    fmt::print(out, "{:<34} {:<7} {:>14} {:>13}  {}\n", tensor.name, gguf_type_name(tensor.type),
               fmt::format("{}", fmt::join(tensor.ne.rbegin(), tensor.ne.rend(), "x")),
               tensor.bytes, ternary_facts(file, tensor, kernels));
}

}  // namespace wf
