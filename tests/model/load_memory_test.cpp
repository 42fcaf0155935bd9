// Loading maps the files: anonymous memory stays within the masters, one tensor and 64 MB.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "model/load.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/python.h"

namespace wf {
namespace {

// transformers and safetensors write the folders, in a process of their own: memory that this one
// had freed before would hide what loading takes. Packed as transformers' bitnet integration does.
constexpr auto kWriteFolders = R"(
import json, os, pathlib, torch
os.environ["TORCHDYNAMO_DISABLE"] = "1"
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.bitnet import pack_weights
shape = dict(vocab_size=8192, hidden_size=2048, intermediate_size=8192, num_hidden_layers=1,
             num_attention_heads=16, num_key_value_heads=4, tie_word_embeddings=True)
model = LlamaForCausalLM(LlamaConfig(**shape)).bfloat16()
model.save_pretrained("latent", max_shard_size="60MB")
tensors = {name: value.float() for name, value in model.state_dict().items() if name != "lm_head.weight"}
for name in [name for name in tensors if name.endswith("_proj.weight")]:
    tensors[name + "_scale"] = tensors[name].abs().mean().reshape(1)
    codes = (tensors[name] / tensors[name + "_scale"]).round().clamp(-1, 1)
    tensors[name] = pack_weights(codes)
pathlib.Path("packed").mkdir()
save_file(tensors, "packed/model.safetensors")
config = json.loads(pathlib.Path("latent/config.json").read_text())
config["quantization_config"] = dict(quant_method="bitnet", linear_class="autobitlinear",
                                     quantization_mode="offline")
pathlib.Path("packed/config.json").write_text(json.dumps(config))
)";

int64_t anonymous_bytes() {  // of this process, resident
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoll(line.substr(8)) * 1024;
  throw std::runtime_error("/proc/self/status has no RssAnon");
}

// The largest growth of anonymous memory while `f` runs.
template <class F>
int64_t peak_growth(F f) {
  const int64_t before = anonymous_bytes();
  std::atomic<int64_t> peak = before;
  std::atomic<bool> done = false;
  std::thread watch([&] {
    while (!done) {
      peak = std::max<int64_t>(peak, anonymous_bytes());
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  f();
  done = true;
  watch.join();
  // A busy machine may have kept the thread from looking again at the end.
  return std::max<int64_t>(peak, anonymous_bytes()) - before;
}

TEST(LoadMemory, StaysWithinTheMastersOneTensorAnd64MB) {
  const TemporaryFolder scratch;
  test::python(kWriteFolders, scratch.path());
  ASSERT_TRUE(std::filesystem::exists(scratch / "latent" / "model.safetensors.index.json"));
  for (const char* kind : {"latent", "packed"}) {
    std::shared_ptr<Decoder> model;
    const int64_t taken = peak_growth([&] { model = load_decoder(HfFolder(scratch / kind), {}); });
    int64_t masters = 0, largest = 0;
    for (const auto& parameter : model->trained_parameters()) {
      const auto bytes = int64_t(parameter.value.nbytes());
      masters += bytes;
      largest = std::max(largest, bytes);
    }
    EXPECT_GT(masters, 300'000'000);
    EXPECT_GE(taken, masters * 0.99) << kind << ": the measurement misses the masters";
    EXPECT_LE(taken, masters + largest + 64'000'000) << kind;
    RecordProperty(kind, fmt::format("masters {}, largest {}, taken {}", masters, largest, taken));
  }
}

}  // namespace
}  // namespace wf
