#include "base/file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

#include "base/error.h"

namespace wf {
namespace fs = std::filesystem;

namespace {

class Descriptor {  // an open file, closed at the end of the scope
 public:
  Descriptor(const fs::path& path, int flags) : value(open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    if (value < 0) fail("{}: cannot open: {}", path.string(), std::strerror(errno));
  }
  ~Descriptor() { close(value); }
  Descriptor(const Descriptor&) = delete;
  const int value;
};

void check(const std::error_code& bad, const fs::path& path, std::string_view attempt) {
  if (bad) fail("{}: cannot {}: {}", path.string(), attempt, bad.message());
}

void move_into_place(const fs::path& from, const fs::path& to) {
  std::error_code bad;
  fs::rename(from, to, bad);
  check(bad, from, "rename to " + to.filename().string());
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
  }
  void add(std::span<const std::byte> bytes) {
    check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size));
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  static void check(int done) {
    if (done != 1) fail("SHA-256 is not available in this OpenSSL");
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const Descriptor file(path, O_RDONLY);
  struct stat info{};
  if (fstat(file.value, &info) != 0 || !S_ISREG(info.st_mode))
    fail("{}: not a regular file", path.string());
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;  // mmap refuses an empty range
  void* address = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (address == MAP_FAILED) fail("{}: cannot map: {}", path.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void release_pages(std::span<const std::byte> mapped) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(mapped.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(mapped.data() + mapped.size()) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_text(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

void sync_to_disk(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  if (fsync(file.value) != 0)
    fail("{}: cannot flush to disk: {}", path.string(), std::strerror(errno));
}

void write_text(const fs::path& path, std::string_view text) {
  const fs::path partial = path.string() + ".partial";
  {
    std::ofstream out(partial, std::ios::binary);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    out.close();
    if (!out)
      fail("{}: cannot write {} bytes: {}", partial.string(), text.size(), std::strerror(errno));
  }
  sync_to_disk(partial);
  move_into_place(partial, path);
}

void write_folder(const fs::path& path, const std::function<void(const fs::path&)>& fill) {
  if (std::error_code unknown; fs::exists(path, unknown))
    fail("{}: already exists; remove it or choose another folder", path.string());
  const fs::path partial = path.string() + ".partial";
  std::error_code bad;
  fs::remove_all(partial, bad);
  check(bad, partial, "remove");
  fs::create_directories(partial, bad);
  check(bad, partial, "create");
  try {
    fill(partial);
    for (const auto& entry : fs::recursive_directory_iterator(partial)) sync_to_disk(entry.path());
    sync_to_disk(partial);
    move_into_place(partial, path);
  } catch (...) {  // what was written may be what filled the disk
    fs::remove_all(partial, bad);
    throw;
  }
  sync_to_disk(fs::absolute(path).parent_path());
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 digest;
  digest.add(bytes);
  return digest.hex();
}

std::string sha256_hex_of_file(const fs::path& path) {
  constexpr std::size_t kPart = 16 << 20;  // what has been read is released: it counts as in use
  const MappedFile file(path);
  Sha256 digest;
  for (auto rest = file.bytes(); !rest.empty();) {
    const auto part = rest.first(std::min(kPart, rest.size()));
    digest.add(part);
    release_pages(part);
    rest = rest.subspan(part.size());
  }
  return digest.hex();
}

FileLock::FileLock(const fs::path& path, std::string_view what)
    : descriptor_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("{}: cannot open: {}", path.string(), std::strerror(errno));
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    close(descriptor_);
    fail("{} is in use by another process (it holds {})", what, path.string());
  }
}

FileLock::~FileLock() { close(descriptor_); }

}  // namespace wf
