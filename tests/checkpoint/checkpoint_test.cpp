#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>

#include "base/file.h"
#include "checkpoint/retention.h"
#include "formats/json.h"
#include "io/tensor_file.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

// Everything in it is a function of the step.
struct Trained {
  torch::Tensor weight, moments;
  int64_t tokens = 0;
  double ema = 0;
  explicit Trained(int64_t step = 0)
      : weight(torch::full({64, 33}, double(step))),
        moments(torch::full({64, 33}, step / 3.0)),
        tokens(step * 1'000'000'007),
        ema(step / 7.0) {}
  void state(StateVisitor& visit) {
    visit("moments", moments);
    visit("tokens", tokens);
    visit("ema", ema);
  }
  bool operator==(const Trained& other) const {
    return torch::equal(moments, other.moments) && tokens == other.tokens && ema == other.ema;
  }
};

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() { base_.write("tokenizer.json", "{\"a\": 1}"); }
  Checkpoint at(int64_t step, std::optional<double> loss = std::nullopt) const {
    Trained trained(step);
    Checkpoint checkpoint;
    checkpoint.step = step;
    checkpoint.loss = loss;
    checkpoint.config = {{"model_type", "llama"}};
    checkpoint.weights = {{"w", trained.weight}, {"v", trained.weight + 1}};
    trained.state(checkpoint.state);
    checkpoint.run_yaml = "name: test\n";
    checkpoint.companions_from = base_.path();
    return checkpoint;
  }
  void expect_whole(const SavedCheckpoint& saved) const {
    verify_checkpoint(saved.folder);
    Trained read;
    auto load = load_state(saved.folder);
    read.state(load);
    load.finish();
    EXPECT_EQ(read, Trained(saved.step));
    EXPECT_TRUE(
        torch::equal(as_torch(HfFolder(saved.folder).tensor("w")), Trained(saved.step).weight));
  }
  fs::path folder(int64_t step) const { return run_ / fmt::format("checkpoints/step-{:08}", step); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(run_ / "checkpoints"))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Changes one byte in the middle of a file.
  static void damage(const fs::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto middle = static_cast<std::streamoff>(fs::file_size(file) / 2);
    stream.seekg(middle);
    const char changed = static_cast<char>(stream.get() ^ 1);
    stream.seekp(middle);
    stream.put(changed);
  }

  TemporaryFolder run_, base_;
};

TEST_F(CheckpointTest, BringsBackWhatWasSaved) {
  EXPECT_FALSE(newest_checkpoint(run_.path()));
  const auto saved = save_checkpoint(run_.path(), at(1000, 2.5));
  EXPECT_EQ(saved.folder, folder(1000));
  const auto newest = newest_checkpoint(run_.path());
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest->step, 1000);
  EXPECT_EQ(newest->loss, 2.5);
  expect_whole(*newest);
}

TEST_F(CheckpointTest, IsAHuggingFaceFolderWithItsCompanions) {
  save_checkpoint(run_.path(), at(7));
  const HfFolder opened(folder(7));
  EXPECT_EQ(opened.config()["model_type"], "llama");
  EXPECT_EQ(opened.names(), (std::vector<std::string>{"v", "w"}));
  EXPECT_EQ(read_text(folder(7) / "tokenizer.json"), "{\"a\": 1}");
  EXPECT_EQ(read_text(folder(7) / "run.yaml"), "name: test\n");
}

TEST_F(CheckpointTest, ListsTheChecksumOfEveryFile) {
  save_checkpoint(run_.path(), at(7));
  test::python(R"(
import hashlib, json, pathlib
here = pathlib.Path('checkpoints/step-00000007')
files = json.loads((here / 'manifest.json').read_text())['files']
assert set(files) == {p.name for p in here.iterdir()} - {'manifest.json'}, files
for name, file in files.items():
    data = (here / name).read_bytes()
    assert file == {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}, name
)",
               run_.path());
}

TEST_F(CheckpointTest, SplitsLargeWeightsIntoShards) {
  const auto saved = save_checkpoint(run_.path(), at(3), 64 * 33 * 4);
  EXPECT_TRUE(fs::exists(folder(3) / "model-00002-of-00002.safetensors"));
  expect_whole(saved);
}

TEST_F(CheckpointTest, TakesTheOneBeforeADamagedOneAndSetsThatAside) {
  save_checkpoint(run_.path(), at(1));
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.json",
                           "config.json", "run.yaml", "tokenizer.json"}) {
    save_checkpoint(run_.path(), at(2));
    damage(folder(2) / file);
    expect_error([&] { verify_checkpoint(folder(2)); }, {file, "its bytes have changed"});
    testing::internal::CaptureStderr();
    EXPECT_EQ(newest_checkpoint(run_.path())->step, 1);
    const auto said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find(file), std::string::npos) << said;
    EXPECT_NE(said.find("step-00000001 is taken instead"), std::string::npos) << said;
    EXPECT_EQ(names(), (std::vector<std::string>{"step-00000001", "step-00000002.damaged"}));
  }
}

TEST_F(CheckpointTest, NoticesAMissingOrCutFileAndAMissingOrBrokenManifest) {
  save_checkpoint(run_.path(), at(1));
  fs::resize_file(folder(1) / "model.safetensors", 100);
  expect_error([&] { verify_checkpoint(folder(1)); }, {"model.safetensors", "has 100 bytes"});
  fs::remove(folder(1) / "model.safetensors");
  expect_error([&] { verify_checkpoint(folder(1)); }, {"model.safetensors: is missing"});
  write_json(folder(1) / "manifest.json", {{"step", "one"}});
  expect_error([&] { verify_checkpoint(folder(1)); }, {"is not the manifest of a checkpoint"});
  fs::remove(folder(1) / "manifest.json");
  expect_error([&] { verify_checkpoint(folder(1)); }, {"has no manifest.json"});
  EXPECT_EQ(list_checkpoints(run_.path()).size(), 1u);
}

TEST_F(CheckpointTest, WillNotStartOverWhenNoneIsIntact) {
  save_checkpoint(run_.path(), at(1));
  damage(folder(1) / "state.json");
  for (int attempt = 0; attempt < 2; ++attempt)
    expect_error([&] { newest_checkpoint(run_.path()); },
                 {"no checkpoint is intact", "state.json", "move the folder away"});
}

TEST_F(CheckpointTest, IsNotReplacedByAnotherOfTheSameStep) {
  save_checkpoint(run_.path(), at(1));
  expect_error([&] { save_checkpoint(run_.path(), at(1)); }, {"already exists"});
}

TEST_F(CheckpointTest, IgnoresAndRemovesWhatAnInterruptionLeft) {
  save_checkpoint(run_.path(), at(1));
  for (const char* name : {"step-00000009.partial", "step-00000000.deleted", "step-", "step-x"})
    fs::create_directory(run_ / "checkpoints" / name);
  EXPECT_EQ(newest_checkpoint(run_.path())->step, 1);
  save_checkpoint(run_.path(), at(2));
  EXPECT_EQ(names(),
            (std::vector<std::string>{"step-", "step-00000001", "step-00000002", "step-x"}));
}

// A process that saves without pause is killed at arbitrary moments: what it leaves is whole.
TEST_F(CheckpointTest, SurvivesKillAtAnyMoment) {
  int64_t last = 0;
  int interrupted = 0;
  for (int round = 0; round < 500 && (last < 15 || interrupted < 10); ++round) {
    const pid_t child = fork();
    if (child == 0) {
      try {
        for (int64_t step = last + 1;; ++step) {
          save_checkpoint(run_.path(), at(step));
          remove_expired(run_.path(), {.keep_last = 2});
        }
      } catch (const std::exception& problem) {
        std::fprintf(stderr, "%s\n", problem.what());
      }
      _exit(1);
    }
    usleep(10'000 + round * 7'919'000 % 250'000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
    if (!fs::exists(run_ / "checkpoints")) continue;
    for (const auto& name : names()) interrupted += name.ends_with(".partial");
    const auto saved = list_checkpoints(run_.path());
    for (const auto& checkpoint : saved) expect_whole(checkpoint);
    const int64_t newest = saved.empty() ? 0 : saved.back().step;
    ASSERT_GE(newest, last);
    last = newest;
  }
  EXPECT_GE(last, 15) << "hardly anything was saved";
  EXPECT_GE(interrupted, 10) << "hardly a kill came in the middle of a save";
}

}  // namespace
}  // namespace wf
