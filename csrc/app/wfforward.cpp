// wfforward FOLDER TOKENS OUT: our own logits of a model folder, for wfconvert --validate. A
// program of its own, so that wfconvert starts without loading LibTorch.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "base/program.h"
#include "io/tensor_file.h"
#include "model/load.h"
#include "model/logits.h"
#include "ops/ternary.h"
#include "ternary/ternary_source.h"

namespace {

using torch::Tensor;

struct Options {
  std::filesystem::path folder, tokens, out;
  bool ternary = false, int8 = false;
};

int parse(int argc, char** argv, Options& out) {
  CLI::App app("Writes the logits that a model folder gives for a sequence of tokens.",
               "wfforward");
  app.add_option("folder", out.folder, "a Hugging Face folder")->required();
  app.add_option("tokens", out.tokens, "a .safetensors file with `tokens`, int64 [T]")->required();
  app.add_option("out", out.out, "the .safetensors file to write: `logits`, fp32 [T, V]")
      ->required();
  app.add_flag("--ternary", out.ternary, "ternarise the block matrices");
  app.add_flag("--int8", out.int8,
               "add `int8_logits`: with activations rounded to int8 a token, as in training");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return -1;
}

// Floats that are ternary already keep their scale, as in a GGUF file; absmean would shrink it.
void keep_scales(const wf::HfFolder& folder, wf::Decoder& model) {
  const torch::NoGradGuard no_grad;
  const auto storage = wf::storage_of(folder.config(), folder.path().string());
  for (auto& [name, linear] : model.bit_linears()) {
    Tensor weight = linear->weight;
    const wf::TernarySource source(folder, name + ".weight", storage, weight.size(0),
                                   weight.size(1));
    if (source.kind() != wf::TernarySource::Kind::kTernary) continue;
    Tensor codes = torch::empty(weight.sizes(), torch::kChar);
    source.codes(0, weight.size(0), codes.mutable_data_ptr<int8_t>());
    weight.copy_(codes);
    wf::ops::master_from_codes_(weight, torch::scalar_tensor(source.scale()));
  }
}

Tensor read_tokens(const std::filesystem::path& path, int64_t vocabulary) {
  const Tensor tokens = wf::as_torch(wf::Safetensors(path).tensor("tokens"));
  if (tokens.scalar_type() != torch::kLong || tokens.dim() != 1 || tokens.numel() == 0)
    wf::fail("{}: `tokens` is not a list of int64", path.string());
  if (tokens.min().item<int64_t>() < 0 || tokens.max().item<int64_t>() >= vocabulary)
    wf::fail("{}: holds tokens outside the model's {}", path.string(), vocabulary);
  return tokens;
}

int run(const Options& options) {
  const wf::HfFolder folder(options.folder);
  const auto model = wf::load_decoder(folder, {});
  if (options.ternary) keep_scales(folder, *model);
  const Tensor tokens = read_tokens(options.tokens, model->config().vocab_size);
  std::vector<wf::NamedTensor> logits = {{"logits", logits_of(*model, tokens, options.ternary, 0)}};
  if (options.int8)
    logits.push_back({"int8_logits", logits_of(*model, tokens, options.ternary, 1)});
  wf::write_safetensors(options.out, logits);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return wf::run_main("wfforward", [&] {
    Options options;
    const int code = parse(argc, argv, options);
    return code >= 0 ? code : run(options);
  });
}
