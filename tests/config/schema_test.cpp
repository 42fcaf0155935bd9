#include "config/schema.h"

#include <gtest/gtest.h>

#include "tests/config/example.h"

namespace wf::example {
namespace {

RunConfig parse(const std::string& text) { return config::parse<RunConfig>("name: x\n" + text); }

TEST(Schema, ValuesComeFromTheTextAndDefaultsFromTheMembers) {
  const RunConfig run = parse(
      "steps: 10_000\nresume: false\ndropout: .25\nfolder: ../there\nnotes: [a, 'b c']\n"
      "optim:\n  lr: 3e-4\n  betas: [0.8, 0.99]\n");
  EXPECT_EQ(run.name, "x");
  EXPECT_EQ(run.steps, 10000);
  EXPECT_FALSE(run.resume);
  EXPECT_EQ(run.dropout, 0.25f);
  EXPECT_EQ(run.folder, "../there");
  EXPECT_EQ(run.notes, (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(run.optim.lr, 3e-4);
  EXPECT_EQ(run.optim.betas, (std::vector<double>{0.8, 0.99}));
  EXPECT_EQ(run.optim.warmup_steps, 100);
  EXPECT_EQ(run.seed, 1);
}

TEST(Schema, NullEmptiesAnOptional) {
  EXPECT_EQ(parse("").optim.clip, 1.0);
  EXPECT_EQ(parse("optim: {clip: null}").optim.clip, std::nullopt);
  EXPECT_EQ(parse("optim: {clip: ~}").optim.clip, std::nullopt);
  EXPECT_EQ(parse("optim: {clip: 0.5}").optim.clip, 0.5);
  EXPECT_EQ(parse("comment: null").comment, std::nullopt);
  EXPECT_EQ(parse("comment: 'null'").comment, "null");
  EXPECT_FALSE(parse("").teacher);
  EXPECT_EQ(parse("teacher: {folder: t}").teacher->folder, "t");
}

TEST(Schema, ReportsEveryProblemInOneRun) {
  EXPECT_EQ(complaint_about("stpes: 50\n"
                            "resume: yes\n"
                            "optim:\n"
                            "  lr: -1\n"
                            "  warm_up_steps: 10\n"
                            "  betas: 0.9\n"
                            "  warmup_steps: 2000\n"
                            "objective:\n"
                            "  kind: layer_wise\n"
                            "teacher: {}\n"),
            "a.yaml:1: name: required key is missing\n"
            "a.yaml:1: stpes: unknown key; did you mean 'steps'?\n"
            "a.yaml:2: resume: expected true or false, got 'yes'\n"
            "a.yaml:4: optim.lr: expected a value > 0, got '-1'\n"
            "a.yaml:5: optim.warm_up_steps: unknown key; did you mean 'warmup_steps'?\n"
            "a.yaml:6: optim.betas: expected a list, got '0.9'\n"
            "a.yaml:7: optim.warmup_steps: 2000 is above steps = 1000\n"
            "a.yaml:9: objective.kind: no objective is named 'layer_wise'; did you mean "
            "'layerwise'? There are: cross_entropy, layerwise, sum\n"
            "a.yaml:10: teacher.folder: required key is missing");
}

TEST(Schema, EveryWrongTypeIsOneSentence) {
  auto complaint = [](const std::string& text) {
    return complaint_about("name: x\n" + text).substr(std::string_view("a.yaml:2: ").size());
  };
  EXPECT_EQ(complaint("steps: ten"), "steps: expected a whole number, got 'ten'");
  EXPECT_EQ(complaint("steps: 1.5"), "steps: expected a whole number, got '1.5'");
  EXPECT_EQ(complaint("steps: '10'"), "steps: expected a whole number, got \"10\"");
  EXPECT_EQ(complaint("steps: 99999999999999999999"),
            "steps: expected a whole number, got '99999999999999999999'");
  EXPECT_EQ(complaint("seed: 3_000_000_000"),
            "seed: expected a whole number from -2147483648 to 2147483647, got '3_000_000_000'");
  EXPECT_EQ(complaint("steps: _1"), "steps: expected a whole number, got '_1'");
  EXPECT_EQ(complaint("steps: 1__0"), "steps: expected a whole number, got '1__0'");
  EXPECT_EQ(complaint("steps: [1]"), "steps: expected a whole number, got [1]");
  EXPECT_EQ(complaint("steps: {a: 1}"), "steps: expected a whole number, got a section");
  EXPECT_EQ(complaint("steps:"), "steps: expected a whole number, got nothing");
  EXPECT_EQ(complaint("dropout: inf"), "dropout: expected a number, got 'inf'");
  EXPECT_EQ(complaint("dropout: .nan"), "dropout: expected a number, got '.nan'");
  EXPECT_EQ(complaint("dropout: nan"), "dropout: expected a number, got 'nan'");
  EXPECT_EQ(complaint("dropout: 1e99"), "dropout: expected a number, got '1e99'");
  EXPECT_EQ(complaint("dropout: 2"), "dropout: expected a value from 0 to 1, got '2'");
  EXPECT_EQ(complaint("resume: 1"), "resume: expected true or false, got '1'");
  EXPECT_EQ(complaint("folder: [a]"), "folder: expected a path, got [a]");
  EXPECT_EQ(complaint("notes: a"), "notes: expected a list, got 'a'");
  EXPECT_EQ(complaint("notes: [a, [b]]"), "notes[1]: expected text, got [b]");
  EXPECT_EQ(complaint("optim: 3"), "optim: expected a section, got '3'");
  EXPECT_EQ(complaint("optim:"), "optim: expected a section, got nothing");
  EXPECT_EQ(complaint("optim: [a, {b: 1}]"), "optim: expected a section, got a list");
  EXPECT_EQ(complaint("optim: {clip: 0}"), "optim.clip: expected a value > 0, got '0'");
  EXPECT_EQ(complaint("optim: {betas: [0.9, 2]}"),
            "optim.betas: expected a value from 0 to 1 in every place, got [0.9, 2]");
  EXPECT_EQ(complaint("objective: sum"),
            "objective: expected a section with a 'kind', one of cross_entropy, layerwise, sum; "
            "got 'sum'");
  EXPECT_EQ(complaint("objective: {kind: layerwise, weights: even}\nteacher: {folder: t}"),
            "objective.weights: expected one of uniform, progressive, got 'even'");
}

TEST(Schema, ATopLevelListIsNotAConfiguration) {
  EXPECT_EQ(complaint_about("- a\n- b\n"), "a.yaml:1: expected a section, got [a, b]");
}

TEST(Schema, AnEmptyFileMeansDefaults) {
  EXPECT_EQ(config::print_config(config::parse<Optim>("# nothing\n")),
            config::print_config(Optim{}));
}

TEST(Schema, UnknownKeysAreLookedForInOtherSections) {
  EXPECT_EQ(complaint_about("name: x\nlr: 1\n"),
            "a.yaml:2: lr: unknown key; did you mean 'optim.lr'?");
  EXPECT_EQ(complaint_about("name: x\noptim: {folder: a}\n"),
            "a.yaml:2: optim.folder: unknown key; did you mean 'folder'?");
  EXPECT_EQ(complaint_about("name: x\nobjective: {temperature: 2}\n"),
            "a.yaml:2: objective.temperature: unknown key; it belongs to another kind");
}

TEST(Schema, AnUnknownKeyLikeNoOtherIsAnsweredWithTheKeysThereAre) {
  EXPECT_EQ(complaint_about("name: x\noptim: {whatever: 1}\n"),
            "a.yaml:2: optim.whatever: unknown key; optim has lr, warmup_steps, clip, betas");
  EXPECT_EQ(complaint_about("name: x\nwhatever: 1\n"),
            "a.yaml:2: whatever: unknown key; there are name, steps, seed, resume, dropout, "
            "folder, notes, comment, optim, teacher, objective");
}

TEST(Schema, ListsOfSectionsReadAndPrint) {
  const RunConfig run = parse(
      "objective:\n"
      "  kind: sum\n"
      "  terms:\n"
      "    - objective: {kind: cross_entropy, z_loss: 0.5}\n"
      "    - weight: 2\n"
      "      objective: {kind: sum, terms: [{objective: {kind: cross_entropy}}]}\n");
  const std::string text = config::print_config(run);
  EXPECT_EQ(text.substr(text.find("objective:")),
            "objective:\n"
            "  kind: sum\n"
            "  terms:\n"
            "    - weight: 1.0\n"
            "      objective:\n"
            "        kind: cross_entropy\n"
            "        z_loss: 0.5\n"
            "    - weight: 2.0\n"
            "      objective:\n"
            "        kind: sum\n"
            "        terms:\n"
            "          - weight: 1.0\n"
            "            objective:\n"
            "              kind: cross_entropy\n"
            "              z_loss: 0.0\n");
  EXPECT_EQ(config::print_config(config::parse<RunConfig>(text)), text);
}

TEST(Schema, ProblemsInsideListsNameTheItem) {
  EXPECT_EQ(complaint_about("name: x\n"
                            "objective:\n"
                            "  kind: sum\n"
                            "  terms:\n"
                            "    - weight: 0\n"
                            "      objective: {kind: cross_entropy}\n"
                            "    - wieght: 1\n"
                            "      objective: {z_loss: 1}\n"),
            "a.yaml:5: objective.terms[0].weight: expected a value > 0, got '0'\n"
            "a.yaml:7: objective.terms[1].wieght: unknown key; did you mean 'weight'?\n"
            "a.yaml:8: objective.terms[1].objective.kind: required key is missing; there are: "
            "cross_entropy, layerwise, sum");
}

TEST(Schema, ValidateDoesNotRepeatWhatAFieldSaid) {
  // The teacher is wrong, not absent; the objective must not ask for one. steps is unreadable, so
  // its default stands in, and a second complaint about the same key is left out.
  EXPECT_EQ(complaint_about("name: x\n"
                            "teacher: {folder: [a]}\n"
                            "objective: {kind: layerwise}\n"),
            "a.yaml:2: teacher.folder: expected a path, got [a]");
  EXPECT_EQ(complaint_about("name: x\nsteps: 10\noptim: {warmup_steps: many}\n"),
            "a.yaml:3: optim.warmup_steps: expected a whole number, got 'many'");
}

TEST(Schema, ValidatePointsAtTheInnermostWrittenPart) {
  EXPECT_EQ(complaint_about("name: x\n"
                            "steps: 50\n"
                            "optim:\n"
                            "  lr: 1\n"),
            "a.yaml:3: optim.warmup_steps: 100 is above steps = 50");
  EXPECT_EQ(complaint_about("name: x\nsteps: 50\n"),
            "a.yaml:1: optim.warmup_steps: 100 is above steps = 50");
}

}  // namespace
}  // namespace wf::example
