#include "io/state_file.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <bit>
#include <cmath>
#include <limits>

#include "formats/json.h"
#include "io/tensor_file.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

using test::expect_error;

struct Thing {
  torch::Tensor moments = torch::tensor({1.5f, -2.0f});
  int64_t steps = 0;
  double best = 0;
  void state(StateVisitor& visit) {
    visit("moments", moments);
    visit("steps", steps);
    visit("best", best);
  }
};

class StateFile : public testing::Test {
 protected:
  void write(const StateSaver& saver) {
    write_safetensors(tensors_, saver.tensors());
    write_json(numbers_, saver.numbers());
  }
  void write(Thing thing) {
    StateSaver saver;
    thing.state(saver);
    write(saver);
  }
  StateLoader loader() { return StateLoader(tensors_, numbers_); }

  TemporaryFolder folder_;
  std::filesystem::path tensors_ = folder_ / "state.safetensors", numbers_ = folder_ / "state.json";
};

TEST_F(StateFile, BringsBackEveryBit) {
  for (const int64_t steps : {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{1} << 53 | 1, INT64_MAX})
    for (const double best : {0.1, -0.0, 1.0, 1e300, 5e-324, std::nextafter(1.0, 2.0), 1e22,
                              double(INFINITY), -double(INFINITY), std::nan("")}) {
      const Thing saved{torch::randn({3, 2}), steps, best};
      write(saved);
      Thing read{torch::zeros({3, 2}), 7, 7};
      auto load = loader();
      read.state(load);
      load.finish();
      EXPECT_TRUE(torch::equal(read.moments, saved.moments));
      EXPECT_EQ(read.steps, steps);
      if (std::isnan(best))
        EXPECT_TRUE(std::isnan(read.best));
      else
        EXPECT_EQ(std::bit_cast<uint64_t>(read.best), std::bit_cast<uint64_t>(best)) << best;
    }
}

TEST_F(StateFile, WritesPlainJsonNumbers) {
  write(Thing{torch::zeros(1), (int64_t{1} << 53) + 1, 0.1});
  EXPECT_EQ(test::python("import json; s = json.load(open('state.json')); "
                         "print(s['integers']['steps'], s['doubles']['best'])",
                         folder_.path()),
            "9007199254740993 0.1\n");
}

TEST_F(StateFile, CopiesIntoTheExistingTensor) {
  write(Thing{});
  Thing read{torch::zeros(2).requires_grad_()};
  const void* before = read.moments.data_ptr();
  auto load = loader();
  read.state(load);
  EXPECT_EQ(read.moments.data_ptr(), before);
  EXPECT_TRUE(read.moments.requires_grad());
}

TEST_F(StateFile, GivesAnUndefinedTensorAWritableOne) {
  write(Thing{});
  Thing read{torch::Tensor()};
  auto load = loader();
  read.state(load);
  read.moments += 1;
  EXPECT_TRUE(torch::equal(read.moments, torch::tensor({2.5f, -1.0f})));
}

TEST_F(StateFile, KeepsPartsApartByPrefix) {
  Thing first{torch::tensor({1.0f}), 1, 1}, second{torch::tensor({2.0f}), 2, 2};
  StateSaver saver;
  Prefixed a(saver, "a."), b(saver, "b.");
  first.state(a);
  second.state(b);
  write(saver);
  Thing read{torch::zeros(1)};
  auto load = loader();
  Prefixed from_b(load, "b.");
  read.state(from_b);
  EXPECT_EQ(read.steps, 2);
  EXPECT_EQ(read.moments.item<float>(), 2);
  expect_error([&] { load.finish(); }, {"3 entries", "a.best, a.moments, a.steps"});
}

TEST_F(StateFile, NamesWhatIsMissing) {
  write(StateSaver());
  auto load = loader();
  Thing thing;
  expect_error([&] { load("moments", thing.moments); }, {"has no tensor 'moments'"});
  expect_error([&] { load("steps", thing.steps); }, {"state.json", "'steps' among its integers"});
  expect_error([&] { load("best", thing.best); }, {"state.json", "'best' among its doubles"});
}

TEST_F(StateFile, NamesBothShapesOrTypesWhenTheyDiffer) {
  write(Thing{});
  Thing longer{torch::zeros({2, 3})}, wider{torch::zeros(2, torch::kFloat64)};
  auto load = loader();
  expect_error([&] { longer.state(load); }, {"'moments' is Float [2], here it is Float [2, 3]"});
  expect_error([&] { wider.state(load); }, {"'moments' is Float [2], here it is Double [2]"});
}

TEST_F(StateFile, RefusesANumberThatWasTamperedWith) {
  write(Thing{});
  Thing thing;
  write_json(numbers_, {{"integers", {{"steps", 1.5}}}, {"doubles", {{"best", "many"}}}});
  auto load = loader();
  expect_error([&] { load("steps", thing.steps); }, {"'steps' is 1.5"});
  expect_error([&] { load("best", thing.best); }, {"'best' is \"many\""});
  write_json(numbers_, {{"integers", {{"steps", UINT64_MAX}}}, {"doubles", nullptr}});
  expect_error([&] { loader(); }, {"has no 'doubles'"});
}

TEST_F(StateFile, RefusesToSaveANameTwiceOrAnUndefinedTensor) {
  Thing thing;
  StateSaver saver;
  thing.state(saver);
  expect_error([&] { saver("steps", thing.best); }, {"two parts of the state are named 'steps'"});
  torch::Tensor none;
  expect_error([&] { saver("none", none); }, {"'none' is an undefined tensor"});
}

}  // namespace
}  // namespace wf
