// Every int8 product of a training step of the three models, against cuBLASLt's best of eight
// heuristics with 64 MiB of workspace (int8 -> int32, nothing fused), interleaved in one run.
// Usage: gemm_s8_bench [sweep] [PRODUCT]; `sweep` also prints every configuration, PRODUCT keeps
// the products whose name contains it.
#include <cublasLt.h>

#include <cstring>
#include <string>

#include "kernels/gemm_s8.h"
#include "timing.h"

namespace {

using namespace wf::bench;
using namespace wf::kernels;

struct Product {
  const char* name;
  int m, n, k;
  bool gradient;  // dW: fp32 out, split along k
};

std::vector<GemmS8Config> configs(const Product& p) {
  if (p.gradient) return {{256, false}, {256, true}, {192, false}};
  if (p.k <= 640) return {{256, false}, {192, false}, {192, true, true}};
  return {{256, false}, {192, false}};
}

std::vector<Product> products() {
  struct Model {
    const char* name;
    int tokens, hidden, ffn, q, kv;
  };
  static std::vector<std::string> names;
  names.reserve(64);
  std::vector<Product> all;
  for (Model s : {Model{"SmolLM2-135M", 65536, 576, 1536, 576, 384},
                  Model{"Qwen3-0.6B", 16384, 1024, 3072, 2048, 2048},
                  Model{"BitNet-2B", 8192, 2560, 6912, 2560, 1280}}) {
    struct Linear {
      const char* name;
      int out, in;
    };
    for (Linear l : {Linear{"qkv", s.q + s.kv, s.hidden}, Linear{"o", s.hidden, s.q},
                     Linear{"gate+up", 2 * s.ffn, s.hidden}, Linear{"down", s.hidden, s.ffn}}) {
      const auto name = [&](const char* use) {
        names.push_back(std::string(s.name) + " " + l.name + " " + use);
        return names.back().c_str();
      };
      all.push_back({name("forward"), s.tokens, l.out, l.in, false});
      all.push_back({name("dX"), s.tokens, l.in, l.out, false});
      all.push_back({name("dW"), l.out, l.in, s.tokens, true});
    }
  }
  return all;
}

// cuBLASLt's int32 = a [m, k] * b [n, k]^T, row-major.
class CublasLt {
 public:
  CublasLt() {
    cublasLtCreate(&handle_);
    check(cudaMalloc(reinterpret_cast<void**>(&workspace_), kWorkspace));
  }

  void prepare(int m, int n, int k) {
    cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32I, CUDA_R_32I);
    const cublasOperation_t transpose = CUBLAS_OP_T;
    cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                   sizeof transpose);
    cublasLtMatrixLayoutCreate(&b_, CUDA_R_8I, k, n, k);
    cublasLtMatrixLayoutCreate(&a_, CUDA_R_8I, k, m, k);
    cublasLtMatrixLayoutCreate(&d_, CUDA_R_32I, n, m, n);
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulPreferenceCreate(&preference);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &kWorkspace, sizeof kWorkspace);
    int found = 0;
    cublasLtMatmulAlgoGetHeuristic(handle_, operation_, b_, a_, d_, d_, preference, 8, heuristics_,
                                   &found);
    cublasLtMatmulPreferenceDestroy(preference);
    count_ = found;
  }
  int count() const { return count_; }

  void run(int heuristic, const int8_t* a, const int8_t* b, int32_t* d) {
    const int32_t one = 1, zero = 0;
    const auto status =
        cublasLtMatmul(handle_, operation_, &one, b, b_, a, a_, &zero, d, d_, d, d_,
                       &heuristics_[heuristic].algo, workspace_, kWorkspace, nullptr);
    if (status != CUBLAS_STATUS_SUCCESS) std::exit(1);
  }

 private:
  static constexpr size_t kWorkspace = 64 << 20;
  cublasLtHandle_t handle_;
  void* workspace_;
  cublasLtMatmulDesc_t operation_;
  cublasLtMatrixLayout_t a_, b_, d_;
  cublasLtMatmulHeuristicResult_t heuristics_[8];
  int count_ = 0;
};

std::string text(GemmS8Config c) {
  return std::to_string(c.tile_n) + (c.hold_b ? " hold b" : c.ping_pong ? " ping-pong" : "");
}

}  // namespace

int main(int argc, char** argv) {
  const bool sweep = argc > 1 && std::strcmp(argv[1], "sweep") == 0;
  const char* only = argc > 1 + sweep ? argv[1 + sweep] : "";
  print_card();
  constexpr size_t kPool = 1 << 28;
  const auto full_range = [](uint64_t word) {  // -128 never occurs in codes
    for (int i = 0; i < 64; i += 8) {
      if ((word >> i & 255) == 0x80) word ^= 0x1ull << i;
    }
    return word;
  };
  const auto ternary = [](uint64_t word) {
    uint64_t codes = 0;
    for (int i = 0; i < 64; i += 8) {
      codes |=
          static_cast<uint64_t>(static_cast<uint8_t>(static_cast<int>((word >> i & 255) % 3) - 1))
          << i;
    }
    return codes;
  };
  const auto* codes = random_memory<int8_t>(kPool, full_range);
  const auto* more_codes = random_memory<int8_t>(kPool, full_range);
  const auto* weights = random_memory<int8_t>(kPool, ternary);
  std::vector<float> ones(1 << 17, 1.5f);
  float* scales;
  check(cudaMalloc(reinterpret_cast<void**>(&scales), ones.size() * 4));
  check(cudaMemcpy(scales, ones.data(), ones.size() * 4, cudaMemcpyHostToDevice));
  void *d, *d32, *workspace;
  check(cudaMalloc(reinterpret_cast<void**>(&d), 1ull << 30));
  check(cudaMalloc(reinterpret_cast<void**>(&d32), 2ull << 30));
  check(cudaMalloc(reinterpret_cast<void**>(&workspace), gemm_s8_workspace_bytes()));
  check(cudaMemset(d, 0, 1ull << 30));

  Timer timer;
  CublasLt cublas;
  std::printf("| product | M | N | K | configuration | ms | TOPS | cuBLASLt ms | TOPS | ratio |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|---|\n");
  for (const Product& p : products()) {
    if (std::strstr(p.name, only) == nullptr) continue;
    const double giga_ops = 2e-9 * p.m * p.n * p.k;
    const int8_t* b = p.gradient ? more_codes : weights;
    const auto ours = [&](GemmS8Config config) {
      return [&, config](int) {
        check(p.gradient
                  ? gemm_s8_f32(codes, b, scales, static_cast<float*>(d), p.m, p.n, p.k, workspace,
                                config, nullptr)
                  : gemm_s8_bf16(codes, b, scales, {1, {p.n}, {scales}},
                                 static_cast<__nv_bfloat16*>(d), p.m, p.n, p.k, config, nullptr));
      };
    };
    cublas.prepare(p.m, p.n, p.k);
    int best = 0;
    double best_ms = 1e9;
    for (int i = 0; i < cublas.count(); ++i) {
      const double ms =
          timer.median([&](int) { cublas.run(i, codes, b, static_cast<int32_t*>(d32)); }, 3, 4);
      if (ms < best_ms) best_ms = ms, best = i;
    }
    // The chosen configuration first; in a sweep the others too. All alternate with the peer, so
    // that they see the same heat.
    std::vector<GemmS8Config> tried = {p.gradient ? gemm_s8_f32_config(p.m, p.n, p.k)
                                                  : gemm_s8_bf16_config(p.m, p.n, p.k)};
    if (sweep) {
      for (const auto& c : configs(p)) tried.push_back(c);
    }
    std::vector<std::vector<double>> own(tried.size());
    std::vector<double> peer;
    for (int round = 0; round < 5; ++round) {
      for (size_t i = 0; i < tried.size(); ++i) {
        own[i].push_back(timer.median(ours(tried[i]), 3, 4));
      }
      peer.push_back(
          timer.median([&](int) { cublas.run(best, codes, b, static_cast<int32_t*>(d32)); }, 3, 4));
    }
    const auto median = [](std::vector<double>& times) {
      std::sort(times.begin(), times.end());
      return times[times.size() / 2];
    };
    const double peer_ms = median(peer), own_ms = median(own[0]);
    std::printf("| %s | %d | %d | %d | %s | %.4f | %.0f | %.4f | %.0f | %.2f |\n", p.name, p.m, p.n,
                p.k, text(tried[0]).c_str(), own_ms, giga_ops / own_ms, peer_ms, giga_ops / peer_ms,
                peer_ms / own_ms);
    if (sweep) {
      std::printf("    ");
      for (size_t i = 1; i < tried.size(); ++i) {
        std::printf(" %s %.2f", text(tried[i]).c_str(), peer_ms / median(own[i]));
      }
      std::printf("\n");
    }
    std::fflush(stdout);
  }
}
