#include "base/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/expect_error.h"

namespace wf {
namespace {

TEST(Program, ReturnsWhatItWrote) {
  EXPECT_EQ(run_program({"printf", "%s-%s", "a b", "$HOME"}), "a b-$HOME");
  EXPECT_EQ(run_program({"sh", "-c", "seq 1 100000 | tail -1; echo noise >&2"}), "100000\n");
}

TEST(Program, AFailureCarriesItsLastLine) {
  test::expect_error([] { run_program({"sh", "-c", "echo first >&2; echo why >&2; exit 3"}); },
                     {"sh failed with exit code 3: why"});
  test::expect_error([] { run_program({"sh", "-c", "kill -9 $$"}); }, {"sh was ended by signal 9"});
  test::expect_error([] { run_program({"/no/such/program"}); },
                     {"/no/such/program: cannot be run: No such file"});
}

TEST(Program, AFolderThatCannotBeMadeIsNoInternalError) {
  testing::internal::CaptureStderr();
  const int code = run_main("wfprogram", [] {
    std::filesystem::create_directories("/proc/no/such");
    return EXIT_SUCCESS;
  });
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(code, EXIT_FAILURE);
  EXPECT_THAT(said, testing::StartsWith("wfprogram: filesystem error: cannot create directories"));
  EXPECT_THAT(said, testing::HasSubstr("[/proc/no/such]"));
}

TEST(Program, FindsTheCheckoutsWf) {
  EXPECT_EQ(wf_command(), std::string(WF_SOURCE_DIR) + "/.venv/bin/wf");
}

}  // namespace
}  // namespace wf
