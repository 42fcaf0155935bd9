#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>

#include "base/error.h"
#include "tests/base/temporary_folder.h"

namespace wf {
namespace {

namespace fs = std::filesystem;

template <class Attempt>
std::string complaint(Attempt attempt) {
  try {
    attempt();
  } catch (const Error& error) {
    return error.what();
  }
  return "no complaint";
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TemporaryFolder folder;
  const MappedFile file(folder.write("a", std::string("x\0y", 3)));
  ASSERT_EQ(file.bytes().size(), 3u);
  EXPECT_EQ(file.bytes()[2], std::byte('y'));
  EXPECT_TRUE(MappedFile(folder.write("empty", "")).bytes().empty());
}

TEST(MappedFile, OutlivesAMoveAndTheFilesRemoval) {
  const TemporaryFolder folder;
  MappedFile first(folder.write("a", "first"));
  MappedFile second(std::move(first));
  EXPECT_TRUE(first.bytes().empty());
  first = MappedFile(folder.write("b", "other"));
  fs::remove(folder / "a");
  EXPECT_EQ(second.bytes()[0], std::byte('f'));
  EXPECT_EQ(first.bytes()[0], std::byte('o'));
  EXPECT_EQ(second.path(), folder / "a");
}

TEST(MappedFile, SaysWhyAFileCannotBeOpened) {
  const TemporaryFolder folder;
  const std::string missing = (folder / "missing").string();
  EXPECT_EQ(complaint([&] { MappedFile{missing}; }),
            missing + ": cannot open: No such file or directory");
  EXPECT_EQ(complaint([&] { MappedFile{folder.path()}; }),
            folder.path().string() + ": not a regular file");
}

TEST(WriteText, ReplacesTheFileAndLeavesNothingBeside) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a";
  write_text(file, "one");
  write_text(file, "two\n");
  EXPECT_EQ(read_text(file), "two\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(WriteText, AFailureKeepsTheOldFile) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("a", "old");
  fs::create_directory(folder / "a.partial");  // in the way of the new one
  EXPECT_NE(complaint([&] { write_text(file, "new"); }), "no complaint");
  EXPECT_EQ(read_text(file), "old");
  EXPECT_NE(complaint([&] { write_text(folder / "none/a", "new"); }), "no complaint");
  fs::create_directories(folder / "b/c");
  EXPECT_EQ(complaint([&] { write_text(folder / "b", "new"); }),
            (folder / "b.partial").string() + ": cannot rename to b: Is a directory");
}

TEST(WriteFolder, AppearsCompleteOrNotAtAll) {
  const TemporaryFolder folder;
  const fs::path target = folder / "new/target";
  EXPECT_THROW(write_folder(target,
                            [&](const fs::path& partial) {
                              write_text(partial / "a", "half");
                              EXPECT_FALSE(fs::exists(target));
                              throw std::runtime_error("interrupted");
                            }),
               std::runtime_error);
  EXPECT_TRUE(fs::is_empty(target.parent_path())) << "left over from the interruption";

  write_folder(target, [&](const fs::path& partial) {
    EXPECT_TRUE(fs::is_empty(partial));
    fs::create_directory(partial / "inner");
    write_text(partial / "inner/b", "whole");
    EXPECT_FALSE(fs::exists(target));
  });
  EXPECT_EQ(read_text(target / "inner/b"), "whole");
  EXPECT_EQ(std::distance(fs::directory_iterator(target.parent_path()), {}), 1);
}

TEST(WriteFolder, ACrashLeavesNothingUnderTheName) {
  const TemporaryFolder folder;
  const fs::path target = folder / "target";
  const pid_t child = fork();
  if (child == 0) {
    write_folder(target, [](const fs::path& partial) {
      write_text(partial / "stale", "x");
      _exit(7);
    });
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(WEXITSTATUS(status), 7);
  EXPECT_FALSE(fs::exists(target));
  EXPECT_TRUE(fs::exists(folder / "target.partial/stale"));
  write_folder(target, [](const fs::path& partial) { write_text(partial / "fresh", "y"); });
  EXPECT_FALSE(fs::exists(target / "stale"));
  EXPECT_FALSE(fs::exists(folder / "target.partial"));
}

TEST(WriteFolder, NeverOverwrites) {
  const TemporaryFolder folder;
  EXPECT_EQ(complaint([&] { write_folder(folder.path(), [](const fs::path&) {}); }),
            folder.path().string() + ": already exists; remove it or choose another folder");
  const fs::path inside_a_file = folder.write("file", "x") / "target";
  EXPECT_NE(complaint([&] { write_folder(inside_a_file, [](const fs::path&) {}); }),
            "no complaint");
}

// FIPS 180-4 examples.
TEST(Sha256, GivesThePublishedDigests) {
  auto digest = [](std::string_view text) { return sha256_hex(std::as_bytes(std::span(text))); };
  EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OfAFileIsOfItsBytes) {
  const TemporaryFolder folder;
  EXPECT_EQ(sha256_hex_of_file(folder.write("abc", "abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex_of_file(folder.write("empty", "")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

// 0 when another process gets the lock, 1 when it is told that the lock is held.
int try_in_another_process(const fs::path& path) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      const FileLock lock(path, "the run folder");
      _exit(0);
    } catch (const Error&) {
      _exit(1);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST(FileLock, ExcludesASecondProcessWhileItLives) {
  const TemporaryFolder folder;
  const fs::path path = folder / "lock";
  {
    const FileLock lock(path, "the run folder");
    EXPECT_EQ(try_in_another_process(path), 1);
    EXPECT_EQ(complaint([&] { FileLock(path, "run/x"); }),
              "run/x is in use by another process (it holds " + path.string() + ")");
  }
  EXPECT_EQ(try_in_another_process(path), 0);
}

TEST(FileLock, IsReleasedWhenItsHolderIsKilled) {
  const TemporaryFolder folder;
  const fs::path path = folder / "lock";
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t holder = fork();
  if (holder == 0) {
    const FileLock lock(path, "the run folder");
    [[maybe_unused]] const auto told = write(ready[1], "x", 1);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(try_in_another_process(path), 1);
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  EXPECT_EQ(try_in_another_process(path), 0);
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace wf
