// fuzz_FORMAT --runs N | --seconds S [--seed N] [--dict FILE] [--corpus FOLDER] SEED...
// Mutates the seeds at random, deterministically but for --seconds; inputs with a new outcome are
// mutated in turn. Built by any compiler; with clang and -DWF_LIBFUZZER=ON libFuzzer takes its
// place.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <vector>

#include "tests/fuzz/target.h"

namespace {

using Bytes = std::vector<unsigned char>;
namespace fs = std::filesystem;
constexpr unsigned kHangSeconds = 10;
constexpr long kMaxMemoryKb = 1'000'000;
constexpr std::size_t kMaxBytes = 1 << 20, kMaxCorpus = 2000;

// The sanitizers' limits: one allocation of a quarter GB for inputs below a MB is a finding.
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=256:allocator_may_return_null=0:detect_leaks=0";
}

Bytes read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// libFuzzer's dictionaries: name="text\x00" a line.
std::vector<Bytes> read_dictionary(const fs::path& path) {
  std::vector<Bytes> words;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto begin = line.find('"'), end = line.rfind('"');
    if (line.empty() || line[0] == '#' || begin == end) continue;
    Bytes word;
    for (auto i = begin + 1; i < end; ++i) {
      if (line[i] != '\\')
        word.push_back(line[i]);
      else if (line[++i] == 'x')
        word.push_back(std::stoi(line.substr(i + 1, 2), nullptr, 16)), i += 2;
      else
        word.push_back(line[i]);
    }
    words.push_back(word);
  }
  return words;
}

class Mutator {
 public:
  Mutator(uint64_t seed, std::vector<Bytes> words) : random_(seed), words_(std::move(words)) {}

  std::size_t below(std::size_t n) { return n ? random_() % n : 0; }

  Bytes mutate(Bytes data, const Bytes& other) {
    for (std::size_t i = 0, n = 1 + below(5); i < n; ++i) once(data, other);
    if (data.size() > kMaxBytes) data.resize(kMaxBytes);
    return data;
  }

 private:
  void once(Bytes& data, const Bytes& other) {
    const std::size_t at = below(data.size() + 1);
    const auto position = data.begin() + at;
    switch (below(9)) {
      case 0:
        if (at < data.size()) data[at] ^= 1 << below(8);
        break;
      case 1:
        if (at < data.size()) data[at] = random_();
        break;
      case 2:
        data.resize(at);
        break;
      case 3:
        data.erase(position, position + below(std::min<std::size_t>(data.size() - at, 64) + 1));
        break;
      case 4: {
        const Bytes copy(position,
                         position + below(std::min<std::size_t>(data.size() - at, 256) + 1));
        data.insert(data.begin() + below(data.size() + 1), copy.begin(), copy.end());
        break;
      }
      case 5:
      case 6:
        if (!words_.empty()) put(data, at, words_[below(words_.size())], below(2));
        break;
      case 7: {  // counts, sizes and offsets: the numbers next to where things break
        constexpr uint64_t kEdges[] = {0,          1,          2,          7,          8,
                                       31,         32,         63,         64,         255,
                                       256,        0x7FFFFFFF, 1u << 31,   ~0u,        1ull << 32,
                                       1ull << 40, ~0ull >> 1, 1ull << 63, ~0ull - 31, ~0ull};
        const uint64_t edge =
            below(4) ? kEdges[below(std::size(kEdges))] : data.size() + below(9) - 4;
        Bytes word(below(2) ? 8 : 4);
        std::memcpy(word.data(), &edge, word.size());
        put(data, at, word, true);
        break;
      }
      default:
        if (other.size()) {  // the head of one, the tail of another
          data.resize(at);
          data.insert(data.end(), other.begin() + below(other.size()), other.end());
        }
    }
  }

  static void put(Bytes& data, std::size_t at, const Bytes& word, bool over) {
    if (over) data.erase(data.begin() + at, data.begin() + std::min(at + word.size(), data.size()));
    data.insert(data.begin() + at, word.begin(), word.end());
  }

  std::mt19937_64 random_;
  std::vector<Bytes> words_;
};

Bytes current;  // for the one who finds a crash

extern "C" void keep_input(int signal) {
  const int file = open("fuzz_finding", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file >= 0 && write(file, current.data(), current.size())) close(file);
  const char text[] = "fuzz: a signal or a hang; the input is in ./fuzz_finding\n";
  if (write(2, text, sizeof(text) - 1)) _exit(77);
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 0, seed = 1;
  double seconds = 0;
  fs::path corpus_folder;
  std::vector<Bytes> corpus, words;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const bool has_value = option.starts_with("--") && i + 1 < argc;
    const std::string value = has_value ? argv[++i] : "";
    if (option == "--runs")
      runs = std::stoull(value);
    else if (option == "--seconds")
      seconds = std::stod(value);
    else if (option == "--seed")
      seed = std::stoull(value);
    else if (option == "--dict")
      words = read_dictionary(value);
    else if (option == "--corpus")
      corpus_folder = value;
    else
      corpus.push_back(read(option));
  }
  if (corpus.empty() || (runs == 0) == (seconds == 0)) {
    std::fprintf(stderr, "usage: %s --runs N | --seconds S [--seed N] [--dict FILE] SEED...\n",
                 argv[0]);
    return 2;
  }
  for (const int signal : {SIGABRT, SIGSEGV, SIGALRM, SIGFPE, SIGBUS})
    std::signal(signal, keep_input);

  std::set<std::string> outcomes;
  const auto attempt = [&](Bytes data) {
    current = std::move(data);
    alarm(kHangSeconds);
    wf::fuzz::run(current.data(), current.size());
    return outcomes.insert(wf::fuzz::outcome).second;
  };
  for (const auto& data : corpus) attempt(data);
  Mutator mutator(seed, words);
  const auto start = std::chrono::steady_clock::now();
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  uint64_t done = 0;
  for (; runs ? done < runs : passed() < seconds; ++done) {
    const Bytes& base = corpus[mutator.below(corpus.size())];
    if (attempt(mutator.mutate(base, corpus[mutator.below(corpus.size())])) &&
        corpus.size() < kMaxCorpus)
      corpus.push_back(current);
  }
  alarm(0);
  if (!corpus_folder.empty())
    for (std::size_t i = 0; i < corpus.size(); ++i)
      std::ofstream(corpus_folder / std::to_string(i), std::ios::binary)
          .write(reinterpret_cast<const char*>(corpus[i].data()),
                 std::streamsize(corpus[i].size()));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%lu inputs in %.0f s, %zu outcomes, %ld MB at most\n", done, passed(),
              outcomes.size(), usage.ru_maxrss / 1024);
  return usage.ru_maxrss > kMaxMemoryKb ? 1 : 0;
}
