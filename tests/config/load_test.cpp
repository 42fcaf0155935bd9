#include "config/load.h"

#include <gtest/gtest.h>

#include "tests/base/temporary_folder.h"
#include "tests/config/example.h"

namespace wf::example {
namespace {

class Load : public testing::Test {
 protected:
  Load() : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(folder_.path());  // so that messages hold short names
  }
  ~Load() override { std::filesystem::current_path(before_); }

  static std::string complaint_about(const std::string& file,
                                     const std::vector<std::string>& overrides = {}) {
    return complaint([&] { config::load<RunConfig>(file, overrides); });
  }

  TemporaryFolder folder_;

 private:
  std::filesystem::path before_;
};

TEST_F(Load, ExtendsIsRelativeToTheFileThatSaysIt) {
  folder_.write("base.yaml",
                "name: base\nsteps: 5\noptim: {lr: 1, warmup_steps: 0}\nnotes: [a, b]\n");
  folder_.write("recipes/middle.yaml", "extends: ../base.yaml\nsteps: 6\n");
  folder_.write("recipes/deep/top.yaml",
                "extends: ../middle.yaml\nname: top\noptim:\n  lr: 2\nnotes: [c]\n");
  const RunConfig run = config::load<RunConfig>("recipes/deep/top.yaml");
  EXPECT_EQ(run.name, "top");
  EXPECT_EQ(run.steps, 6);
  EXPECT_EQ(run.optim.lr, 2);
  EXPECT_EQ(run.optim.warmup_steps, 0);                 // sections merge
  EXPECT_EQ(run.notes, std::vector<std::string>{"c"});  // lists replace
}

TEST_F(Load, ProblemsOfAllFilesAndTheCommandLineAreReportedTogether) {
  folder_.write("base.yaml", "steps: few\noptim:\n  lr: 1\n  lr: 2\n");
  folder_.write("run.yaml", "extends: base.yaml\n\nseed: x\nnmae: y\n");
  EXPECT_EQ(complaint_about("run.yaml", {"optim.lr=fast", "resume", "objective.kind=sum", "lr=1",
                                         "notes=[a", "=1", "seed.y=1", "notes[3]=a"}),
            "base.yaml:1: steps: expected a whole number, got 'few'\n"
            "base.yaml:4: lr: written twice in one section\n"
            "run.yaml:1: name: required key is missing\n"
            "run.yaml:3: seed: expected a whole number from -2147483648 to 2147483647, got 'x'\n"
            "run.yaml:4: nmae: unknown key; there are name, steps, seed, resume, dropout, folder, "
            "notes, comment, optim, teacher, objective\n"
            "command line: resume: expected key=value\n"
            "command line: notes: a key is a word, not a list or a section (or is a bracket not "
            "closed?)\n"
            "command line: =1: expected key=value\n"
            "command line: seed.y: 'x' has no 'y'\n"
            "command line: notes[3]: the list is not in the file; write all of it\n"
            "command line: optim.lr: expected a number, got 'fast'\n"
            "command line: objective.terms: required key is missing\n"
            "command line: lr: unknown key; did you mean 'optim.lr'?");
}

TEST_F(Load, BrokenExtendsNamesTheLineThatSaysIt) {
  folder_.write("a.yaml", "name: x\nextends: sub/b.yaml\n");
  EXPECT_EQ(complaint_about("a.yaml"), "a.yaml:2: extends: there is no file sub/b.yaml");
  folder_.write("sub/b.yaml", "extends: ../c.yaml\n");
  folder_.write("c.yaml", "\nextends: ./a.yaml\n");
  EXPECT_EQ(complaint_about("a.yaml"),
            "c.yaml:2: extends: a.yaml already extends this file: a circle");
  folder_.write("self.yaml", "extends: self.yaml\n");
  EXPECT_EQ(complaint_about("self.yaml"),
            "self.yaml:1: extends: self.yaml already extends this file: a circle");
  folder_.write("list.yaml", "extends: [a.yaml, b.yaml]\n");
  EXPECT_EQ(complaint_about("list.yaml"),
            "list.yaml:1: extends: expected the path of one file, got [a.yaml, b.yaml]");
  folder_.write("broken.yaml", "a: [\n");
  folder_.write("child.yaml", "extends: broken.yaml\n");
  EXPECT_EQ(complaint_about("child.yaml").substr(0, 14), "broken.yaml:2:");
}

TEST_F(Load, FilesThatCannotBeConfigurationsAreRefused) {
  EXPECT_EQ(complaint_about("none.yaml"), "none.yaml: cannot open: No such file or directory");
  std::filesystem::create_directory("folder");
  EXPECT_EQ(complaint_about("folder"), "folder: not a regular file");
  const std::string endless(5000, 'a');
  folder_.write("name.yaml", "extends: " + endless);
  EXPECT_EQ(complaint_about("name.yaml"), "name.yaml:1: extends: there is no file " + endless);
  folder_.write("big.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(complaint_about("big.yaml"), "big.yaml: larger than 1 MiB; is this a configuration?");
}

TEST_F(Load, AFileFullOfMistakesIsReportedInReasonableTime) {
  std::string text;
  int keys = 0;
  while (text.size() < 1'000'000) text += fmt::format("k{}: 1\n", keys++);
  folder_.write("a.yaml", text);
  const std::string all = complaint_about("a.yaml");
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), keys);  // and the missing name
}

TEST_F(Load, OverridesReachEveryKindOfValue) {
  folder_.write(
      "a.yaml",
      "name: x\nobjective:\n  kind: sum\n  terms:\n    - objective: {kind: cross_entropy}\n"
      "    - objective: {kind: cross_entropy, z_loss: 3}\n");
  const RunConfig run = config::load<RunConfig>(
      "a.yaml",
      {"optim.lr=3e-4", "notes=[a, 'b: c']", "teacher={folder: t}", "teacher.trainable=true",
       "comment=", "objective.terms[1].weight=0.25", "optim.clip=null", "name=y"});
  EXPECT_EQ(run.optim.lr, 3e-4);
  EXPECT_EQ(run.notes, (std::vector<std::string>{"a", "b: c"}));
  EXPECT_TRUE(run.teacher->trainable);
  EXPECT_EQ(run.comment, std::nullopt);
  EXPECT_EQ(run.optim.clip, std::nullopt);
  EXPECT_EQ(run.name, "y");
  Gain gain;
  EXPECT_EQ(run.objective.build(gain)->loss(1), 1 + 0.25 * 4);
}

TEST_F(Load, AnotherKindDropsTheOptionsOfTheOldOne) {
  folder_.write("base.yaml",
                "name: x\nteacher: {folder: t}\n"
                "objective: {kind: layerwise, temperature: 2}\n");
  folder_.write("a.yaml", "extends: base.yaml\nobjective: {kind: cross_entropy, z_loss: 1}\n");
  EXPECT_EQ(config::load<RunConfig>("a.yaml").objective.kind(), "cross_entropy");
  EXPECT_EQ(config::load<RunConfig>("base.yaml", {"objective.kind=cross_entropy"}).objective.kind(),
            "cross_entropy");
  Gain gain;
  for (const auto& order :
       {std::vector<std::string>{"objective.z_loss=5", "objective.kind=cross_entropy"},
        std::vector<std::string>{"objective.kind=cross_entropy", "objective.z_loss=5"}})
    EXPECT_EQ(config::load<RunConfig>("base.yaml", order).objective.build(gain)->loss(1), 6);
  EXPECT_EQ(config::load<RunConfig>("base.yaml", {"objective.kind=layerwise"})
                .objective.build(gain)
                ->loss(1),
            2);  // the same kind changes nothing
}

TEST_F(Load, TheSavedConfigurationLoadsAsTheSame) {
  const auto file = folder_.write("a.yaml", "name: x\n");
  const RunConfig run = config::load<RunConfig>(file, {"comment='a: #b'", "optim.lr=0.3"});
  const auto saved = folder_.write("saved.yaml", config::print_config(run));
  EXPECT_TRUE(config::changes(run, config::load<RunConfig>(saved)).empty());
}

TEST(Changes, AreListedKeyByKey) {
  const RunConfig before = config::parse<RunConfig>("name: x\nobjective: {z_loss: 1}\n");
  RunConfig after = config::parse<RunConfig>(
      "name: x\noptim: {lr: 0.002, betas: [0.9, 0.99], clip: null}\nteacher: {folder: t}\n"
      "objective: {kind: sum, terms: [{objective: {kind: cross_entropy}}]}\n");
  std::vector<std::string> lines;
  for (const auto& change : config::changes(before, after)) lines.push_back(change.str());
  EXPECT_EQ(lines, (std::vector<std::string>{
                       "optim.lr: 0.001 -> 0.002",
                       "optim.clip: 1.0 -> null",
                       "optim.betas: [0.9, 0.95] -> [0.9, 0.99]",
                       "teacher.folder: (absent) -> t",
                       "teacher.trainable: (absent) -> false",
                       "objective.kind: cross_entropy -> sum",
                       "objective.terms[0].weight: (absent) -> 1.0",
                       "objective.terms[0].objective.kind: (absent) -> cross_entropy",
                       "objective.terms[0].objective.z_loss: (absent) -> 0.0",
                       "teacher: null -> (absent)",
                       "objective.z_loss: 1.0 -> (absent)",
                   }));
  EXPECT_TRUE(config::changes(after, after).empty());
}

}  // namespace
}  // namespace wf::example
