// How far int8 gradients are from bf16 ones on a real model and real tokens, per kind of ternary
// matrix over all blocks:
//   crest factor   max / rms of dY, by row and by column, in the plain operations
//   cosine dX      of dW between int8 dX and bf16 dX everywhere above (dW in bf16 for both)
//   cosine dW      between int8 dW and bf16 dW of the same int8 dX and the same noise
// Usage: gradient_bench MODEL_FOLDER TOKENS [ROWS]. TOKENS: a shard of `wf data prepare` (uint16),
// cut into rows of 2048 without regard to documents.
#include <fmt/format.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/torch.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <unordered_set>

#include "model/load.h"
#include "ops/linear_cross_entropy.h"

namespace {

using namespace wf;
using torch::Tensor;

constexpr int64_t kLength = 2048;

Batch read_batch(const std::string& file, int64_t rows) {
  std::vector<uint16_t> raw(size_t(rows * (kLength + 1)));
  std::ifstream in(file, std::ios::binary);
  if (!in.read(reinterpret_cast<char*>(raw.data()), std::streamsize(raw.size() * 2)))
    throw std::runtime_error(file + " has fewer tokens than asked for");
  const Tensor all =
      torch::from_blob(raw.data(), {rows, kLength + 1}, torch::kUInt16).to(torch::kLong);
  Batch batch;
  batch.tokens = all.slice(1, 0, kLength).contiguous();
  batch.labels = all.slice(1, 1).contiguous();
  batch.positions = torch::arange(kLength).expand({rows, kLength}).contiguous();
  batch.starts = torch::arange(0, rows * kLength + 1, kLength, torch::kInt);
  batch.longest = kLength;
  batch.valid_labels = rows * kLength;
  return batch.to(torch::kCUDA);
}

struct Crest {
  double row_median, row_top, column_median, column_top;
};

Crest crest_of(const Tensor& dy) {
  const Tensor d = dy.to(torch::kFloat);
  const auto ratio = [&](int64_t dim) {
    return (d.abs().amax(dim) / d.square().mean(dim).sqrt().clamp_min(1e-30)).sort();
  };
  const Tensor rows = std::get<0>(ratio(1)), columns = std::get<0>(ratio(0));
  const auto at = [](const Tensor& sorted, double share) {
    return sorted[int64_t(share * double(sorted.numel() - 1))].item<double>();
  };
  return {at(rows, 0.5), at(rows, 0.999), at(columns, 0.5), at(columns, 1)};
}

// Sees dY when a product's backward is done.
struct Seen : torch::autograd::FunctionPostHook {
  explicit Seen(std::function<void(const Tensor&)> with_dy) : with_dy_(std::move(with_dy)) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list& inputs) override {
    with_dy_(inputs[0]);
    return outputs;
  }
  std::function<void(const Tensor&)> with_dy_;
};

// with_dy(weight, dY) at every ternary product of the plain operations below `loss`.
void watch(const Tensor& loss, const std::function<void(const Tensor&, const Tensor&)>& with_dy) {
  std::vector<torch::autograd::Node*> open{loss.grad_fn().get()};
  std::unordered_set<torch::autograd::Node*> met(open.begin(), open.end());
  while (!open.empty()) {
    torch::autograd::Node* node = open.back();
    open.pop_back();
    for (const auto& edge : node->next_edges())
      if (edge.function && met.insert(edge.function.get()).second)
        open.push_back(edge.function.get());
    if (node->name().find("BitMatmul") == std::string::npos) continue;
    const auto* leaf =
        dynamic_cast<torch::autograd::AccumulateGrad*>(node->next_edge(1).function.get());
    node->add_post_hook(std::make_unique<Seen>(
        [weight = leaf->variable, &with_dy](const Tensor& dy) { with_dy(weight, dy); }));
  }
}

std::map<std::string, Tensor> gradients(
    Decoder& model, const Batch& batch, const Int8& int8,
    const std::function<void(const Tensor&, const Tensor&)>& with_dy) {
  model.set_int8(int8);
  const Trace trace = model.forward(batch, {});
  const Tensor loss =
      ops::linear_cross_entropy(trace.hidden.flatten(0, 1), trace.head, batch.labels.flatten(),
                                batch.valid_labels, Batch::kIgnore);
  if (with_dy) watch(loss, with_dy);
  loss.backward();
  std::map<std::string, Tensor> out;
  for (const auto& p : model.trained_parameters()) {
    if (p.role == Role::kLinear) out[p.name] = p.value.grad().to(torch::kCPU);
    p.value.mutable_grad().reset();
  }
  return out;
}

double cosine(const Tensor& a, const Tensor& b) {
  const Tensor x = a.flatten().to(torch::kDouble), y = b.flatten().to(torch::kDouble);
  return (x.dot(y) / (x.norm() * y.norm())).item<double>();
}

struct Row {
  std::vector<double> dx, dw;
  std::vector<Crest> crests;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: gradient_bench MODEL_FOLDER TOKENS [ROWS]\n");
    return 2;
  }
  const Batch batch = read_batch(argv[2], argc > 3 ? std::stoll(argv[3]) : 8);
  const HfFolder folder(argv[1]);
  const auto model = load_decoder(folder, {.precision = {.compute = torch::kBFloat16}});
  model->to(torch::kCUDA);
  std::map<const void*, std::string> kind_of;  // by the weight
  for (const auto& p : model->trained_parameters())
    if (p.role == Role::kLinear) {
      const auto end = p.name.rfind(".weight"), begin = p.name.rfind('.', end - 1) + 1;
      kind_of[p.value.unsafeGetTensorImpl()] = p.name.substr(begin, end - begin);
    }
  std::map<std::string, Row> rows;
  gradients(*model, batch, {}, [&](const Tensor& weight, const Tensor& dy) {
    rows[kind_of.at(weight.unsafeGetTensorImpl())].crests.push_back(crest_of(dy));
  });
  Int8 choice;
  choice.forward = true;
  const auto forward = gradients(*model, batch, choice, {});
  choice.input_gradient = true;
  const auto bf16 = gradients(*model, batch, choice, {});
  choice.weight_gradient = true;
  const auto int8 = gradients(*model, batch, choice, {});
  for (const auto& p : model->trained_parameters())
    if (p.role == Role::kLinear) {
      Row& row = rows[kind_of.at(p.value.unsafeGetTensorImpl())];
      row.dx.push_back(cosine(forward.at(p.name), bf16.at(p.name)));
      row.dw.push_back(cosine(bf16.at(p.name), int8.at(p.name)));
    }
  fmt::print(
      "| matrix | cosine dX: mean, least | cosine dW: mean, least | crest of rows: median, "
      "99.9 % | crest of columns: median, most |\n|---|---|---|---|---|\n");
  for (const auto& [kind, row] : rows) {
    const auto mean = [](const auto& list, auto get) {
      double sum = 0;
      for (const auto& x : list) sum += get(x);
      return sum / double(list.size());
    };
    const auto self = [](double x) { return x; };
    double column_top = 0;
    for (const Crest& c : row.crests) column_top = std::max(column_top, c.column_top);
    fmt::print("| {} | {:.5f}, {:.5f} | {:.5f}, {:.5f} | {:.1f}, {:.1f} | {:.1f}, {:.1f} |\n", kind,
               mean(row.dx, self), *std::min_element(row.dx.begin(), row.dx.end()),
               mean(row.dw, self), *std::min_element(row.dw.begin(), row.dw.end()),
               mean(row.crests, [](const Crest& c) { return c.row_median; }),
               mean(row.crests, [](const Crest& c) { return c.row_top; }),
               mean(row.crests, [](const Crest& c) { return c.column_median; }), column_top);
  }
}
