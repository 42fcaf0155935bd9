// Files: mapped for reading, written aside and renamed, locked against a second process.
#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace wf {

// A file mapped read-only for as long as the object lives. Throws Error when it cannot be opened.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Of a mapped file's bytes, gives back the memory of those pages that lie wholly inside. They stay
// readable: the system reads them again, from its cache where they are still there.
void release_pages(std::span<const std::byte> mapped);

std::string read_text(const std::filesystem::path& path);

// Writes `path`.partial, flushes it to the disk and renames it: readers see the old file or the new
// one.
void write_text(const std::filesystem::path& path, std::string_view text);

// Flushes a file or a folder's entries to the disk.
void sync_to_disk(const std::filesystem::path& path);

// Runs `fill` on the empty folder `path`.partial, flushes every file in it and renames it to
// `path`, which must not exist. Whatever interrupts it, `path` is complete or absent; an error
// deletes the .partial, and one left over by a crash is deleted first.
void write_folder(const std::filesystem::path& path,
                  const std::function<void(const std::filesystem::path&)>& fill);

std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex_of_file(const std::filesystem::path& path);

// Held for the lifetime of the object; released by the system when the process dies. Throws Error
// naming `what` when another process holds it.
class FileLock {
 public:
  FileLock(const std::filesystem::path& path, std::string_view what);
  ~FileLock();
  FileLock(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace wf
