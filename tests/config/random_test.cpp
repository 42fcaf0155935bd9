// Configurations that nobody wrote: random ones survive printing, and damaged YAML never does worse
// than an Error.
#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/base/temporary_folder.h"
#include "tests/config/example.h"

namespace wf::example {
namespace {

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}

  uint64_t bits() { return random_bits(seed_, next_++); }
  std::size_t below(std::size_t n) { return bits() % n; }
  bool flip() { return below(2) == 0; }

  std::string text() {
    static const std::vector<std::string> pieces = {
        "a",  "Z",    "0",    "9",   ".",    "-",   "_",   "/",  " ",    ":",    "#",    "'",  "\"",
        "\\", "\n",   "\t",   "\r",  "[",    "]",   "{",   "}",  ",",    "&",    "*",    "!",  "|",
        ">",  "%",    "@",    "`",   "?",    "=",   "~",   "é",  "日本", "\x7f", "\x01", ": ", " #",
        "- ", "null", "true", "1e5", "0x1F", "---", "...", "<<", "no",   ".inf"};
    std::string out;
    for (std::size_t n = below(5); n > 0; --n) out += pieces[below(pieces.size())];
    return out;
  }

  double positive() {  // any magnitude
    double value = 0;
    while (!(value > 0 && std::isfinite(value))) {
      const uint64_t pattern = bits() >> 1;
      std::memcpy(&value, &pattern, sizeof value);
    }
    return value;
  }

 private:
  uint64_t seed_, next_ = 0;
};

// As YAML text, because a Choice takes its options from nowhere else.
config::Tree random_objective(Dice& dice, int depth) {
  using config::Tree;
  Tree tree = Tree::map();
  switch (dice.below(depth > 0 ? 3 : 2)) {
    case 0:
      tree.insert("kind", Tree::text("cross_entropy"));
      tree.insert("z_loss", config::write_value(dice.positive()));
      break;
    case 1:
      tree.insert("kind", Tree::text("layerwise"));
      tree.insert("weights",
                  config::write_value(dice.flip() ? Weights::kUniform : Weights::kProgressive));
      tree.insert("temperature", config::write_value(dice.positive()));
      break;
    default:
      Tree terms = Tree::list();
      for (std::size_t n = 1 + dice.below(3); n > 0; --n) {
        Tree term = Tree::map();
        term.insert("weight", config::write_value(dice.positive()));
        term.insert("objective", random_objective(dice, depth - 1));
        terms.items.push_back(term);
      }
      tree.insert("kind", Tree::text("sum"));
      tree.insert("terms", terms);
  }
  return tree;
}

RunConfig random_run(Dice& dice) {
  RunConfig run;
  run.name = "x" + dice.text();
  run.steps = static_cast<int64_t>(dice.bits() >> 1) | 1;
  run.seed = static_cast<int32_t>(dice.bits());
  run.resume = dice.flip();
  run.dropout = static_cast<float>(dice.bits() % 1000) / 999;
  run.folder = dice.text();
  for (std::size_t n = dice.below(4); n > 0; --n) run.notes.push_back(dice.text());
  if (dice.flip()) run.comment = dice.text();
  run.optim.lr = dice.positive();
  run.optim.warmup_steps = 0;
  run.optim.clip = dice.flip() ? std::optional(dice.positive()) : std::nullopt;
  run.optim.betas.assign(dice.below(3), double(dice.bits() >> 11) * 0x1p-53);
  run.teacher = Teacher{dice.text(), dice.flip()};
  config::Problems problems;
  run.objective.read_choice(random_objective(dice, 3), "objective", problems);
  problems.throw_if_any();
  return run;
}

TEST(Print, RandomConfigurationsReadBackEqual) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    Dice dice(seed);
    const RunConfig run = random_run(dice);
    const std::string text = config::print_config(run);
    RunConfig again;
    ASSERT_NO_THROW(again = config::parse<RunConfig>(text)) << text;
    ASSERT_EQ(config::print_config(again), text);
    // The members themselves, lest printing and reading err in the same way.
    ASSERT_EQ(again.name, run.name) << text;
    ASSERT_EQ(again.folder, run.folder) << text;
    ASSERT_EQ(again.notes, run.notes) << text;
    ASSERT_EQ(again.comment, run.comment) << text;
    ASSERT_EQ(again.steps, run.steps);
    ASSERT_EQ(again.seed, run.seed);
    ASSERT_EQ(again.dropout, run.dropout);
    ASSERT_EQ(again.optim.lr, run.optim.lr);
    ASSERT_EQ(again.optim.clip, run.optim.clip);
    ASSERT_EQ(again.optim.betas, run.optim.betas);
    Gain gain;
    ASSERT_EQ(again.objective.build(gain)->loss(0.5), run.objective.build(gain)->loss(0.5));
  }
}

std::string damaged(std::string text, Dice& dice) {
  static const std::string alphabet =
      "\n\t -:#,[]{}'\"&*!|>%@`?~<=\\.0aekx\xc3\xff\x00"
      "\x04";
  for (std::size_t n = 1 + dice.below(6); n > 0 && !text.empty(); --n) {
    const std::size_t at = dice.below(text.size());
    switch (dice.below(5)) {
      case 0:
        text[at] = alphabet[dice.below(alphabet.size())];
        break;
      case 1:
        text.insert(at, 1, alphabet[dice.below(alphabet.size())]);
        break;
      case 2:
        text.erase(at, 1 + dice.below(8));
        break;
      case 3:
        text.insert(dice.below(text.size()), text.substr(at, dice.below(40)));
        break;
      default:
        text.insert(at, std::string(dice.below(100), "[{- :"[dice.below(5)]));
    }
  }
  return text;
}

TEST(Read, DamagedTextIsAnErrorAtWorst) {
  int accepted = 0;
  for (uint64_t seed = 0; seed < 10000; ++seed) {
    Dice dice(seed);
    const std::string text = damaged(config::print_config(random_run(dice)), dice);
    try {
      config::parse<RunConfig>(text);
      ++accepted;
    } catch (const Error&) {
    } catch (const std::exception& other) {
      FAIL() << "seed " << seed << ": " << other.what() << "\n" << text;
    }
  }
  EXPECT_GT(accepted, 100);   // the damage is small enough to reach every depth of the reader
  EXPECT_LT(accepted, 9900);  // and large enough to matter
}

TEST(Read, DamagedOverridesAreAnErrorAtWorst) {
  const TemporaryFolder folder;
  const auto file = folder.write("a.yaml", "name: x\noptim: {lr: 1}\nnotes: [a, b]\n");
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    Dice dice(seed);
    std::vector<std::string> overrides;
    for (const char* text :
         {"optim.lr=3e-4", "notes[1]=c", "objective={kind: sum, terms: []}", "objective.kind=sum"})
      overrides.push_back(damaged(text, dice));
    try {
      config::load<RunConfig>(file, overrides);
    } catch (const Error&) {
    } catch (const std::exception& other) {
      FAIL() << "seed " << seed << ": " << other.what();
    }
  }
}

}  // namespace
}  // namespace wf::example
