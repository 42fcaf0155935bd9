// Memory-bound kernels at the widths of the three models: bytes that must move over the time taken,
// as a share of the rate of a large copy, and of a copy of just as many bytes, measured in the same
// run. Buffers rotate over 8 GB.
#include <functional>
#include <string>

#include "kernels/adamw.h"
#include "kernels/cross_entropy.h"
#include "kernels/dequantize_rows.h"
#include "kernels/qkv_rope.h"
#include "kernels/quantize_gradient.h"
#include "kernels/rms_norm_backward.h"
#include "kernels/rms_norm_quant.h"
#include "kernels/ternarize.h"
#include "timing.h"

namespace {

using namespace wf::bench;
using namespace wf::kernels;

class Bench {
 public:
  // only: what the names of the kernels to measure contain.
  explicit Bench(std::string only) : only_(std::move(only)), copy_(copy_rate(timer_)) {
    print_card();
    std::printf("copy rate %.2f TB/s (read + written)\n\n", copy_ * 1e-12);
    std::printf("| kernel | shape | MB | us | TB/s | of large copy | of same-size copy |\n");
    std::printf("|---|---|---|---|---|---|---|\n");
    check(cudaMalloc(reinterpret_cast<void**>(&pool_), kPool));
    void* noise = random_memory(kPool, [](uint64_t word) {  // bf16 values of size about 1
      return (word & 0x8fff8fff8fff8fffull) | 0x3000300030003000ull;
    });
    check(cudaMemcpy(pool_, noise, kPool, cudaMemcpyDeviceToDevice));
    check(cudaFree(noise));
  }

  // bytes: read + written by one call. run(base): base is 256-byte aligned memory of its own.
  void row(const std::string& kernel, const std::string& shape, size_t bytes, size_t footprint,
           const std::function<cudaError_t(char*)>& run) {
    if (kernel.find(only_) == std::string::npos) return;
    footprint = (footprint + 255) / 256 * 256;
    const size_t sets = std::max<size_t>(1, kPool / footprint);
    const double ms =
        timer_.median([&](int i) { check(run(pool_ + i % sets * footprint)); }, 11, 6);
    const size_t copied = std::min(bytes, footprint) / 512 * 256;  // read, and as many written
    const double copy_ms =
        timer_.median(
            [&](int i) {
              char* base = pool_ + i % sets * footprint;
              check(cudaMemcpyAsync(base + copied, base, copied, cudaMemcpyDeviceToDevice));
            },
            7, 3) *
        bytes / (2.0 * copied);
    const double rate = bytes / ms * 1e3;
    std::printf("| %s | %s | %.1f | %.1f | %.2f | %.0f %% | %.0f %% |\n", kernel.c_str(),
                shape.c_str(), bytes * 1e-6, ms * 1e3, rate * 1e-12, 100 * rate / copy_,
                100 * copy_ms / ms);
    std::fflush(stdout);
  }

  Timer timer_;
  std::string only_;
  double copy_;
  char* pool_ = nullptr;
  static constexpr size_t kPool = 8ull << 30;
};

std::string shape(int rows, int width) {
  return std::to_string(rows) + " x " + std::to_string(width);
}

__nv_bfloat16* bf16(char* p) { return reinterpret_cast<__nv_bfloat16*>(p); }

// All ternary matrices of a model at once.
void bench_weights(Bench& bench) {
  struct Model {
    const char* name;
    int layers, hidden, ffn, q, kv;
  };
  for (Model s : {Model{"SmolLM2-135M", 30, 576, 1536, 576, 192},
                  Model{"Qwen3-0.6B", 28, 1024, 3072, 2048, 1024}}) {
    size_t weights = 0;
    std::vector<TernaryMatrix> list;
    for (int layer = 0; layer < s.layers; ++layer) {
      for (auto [rows, columns] : {std::pair{s.q, s.hidden},
                                   {s.kv, s.hidden},
                                   {s.kv, s.hidden},
                                   {s.hidden, s.q},
                                   {s.ffn, s.hidden},
                                   {s.ffn, s.hidden},
                                   {s.hidden, s.ffn}}) {
        TernaryMatrix m = {};
        m.rows = rows;
        m.columns = columns;
        m.transposed_pitch = rows;
        list.push_back(m);
        weights += static_cast<size_t>(rows) * columns;
      }
    }
    float* deltas;
    check(cudaMalloc(reinterpret_cast<void**>(&deltas), list.size() * 4));
    size_t at = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      list[i].weight = reinterpret_cast<const float*>(bench.pool_) + at;
      list[i].codes = reinterpret_cast<int8_t*>(bench.pool_ + 4 * weights + at);
      list[i].codes_transposed = reinterpret_cast<int8_t*>(bench.pool_ + 5 * weights + at);
      list[i].delta = deltas + i;
      at += static_cast<size_t>(list[i].rows) * list[i].columns;
    }
    const int count = static_cast<int>(list.size());
    const TernarizePlan plan = plan_ternarize(list.data(), count);
    TernaryMatrix* device_list;
    double* sums;
    check(cudaMalloc(reinterpret_cast<void**>(&device_list), count * sizeof(TernaryMatrix)));
    check(cudaMalloc(reinterpret_cast<void**>(&sums), plan.chunks * sizeof(double)));
    check(cudaMemcpy(device_list, list.data(), count * sizeof(TernaryMatrix),
                     cudaMemcpyHostToDevice));
    bench.row("sum_weights", s.name, 4 * weights, Bench::kPool,
              [=](char*) { return sum_weights(device_list, count, plan, sums, 0); });
    bench.row("ternarize", s.name, 6 * weights, Bench::kPool,
              [=](char*) { return ternarize(device_list, count, plan, sums, 0); });
    std::vector<AdamWTensor> tensors;
    at = 0;
    for (const auto& m : list) {
      AdamWTensor t = {};
      t.count = m.rows * m.columns;
      float* base = reinterpret_cast<float*>(bench.pool_);
      if (16 * weights > Bench::kPool) break;
      t.weight = base + at, t.m = base + weights + at, t.v = base + 2 * weights + at;
      t.gradient = base + 3 * weights + at;
      t.lr_factor = 1;
      t.absolute_sums = sums + m.first_chunk;
      tensors.push_back(t);
      at += t.count;
    }
    if (tensors.empty()) continue;
    plan_adamw(tensors.data(), count);
    AdamWTensor* device_tensors;
    AdamWStep* adamw_step;
    const AdamWStep values{1e-9f, 0.5f, 0.5f, 1.0f};
    check(cudaMalloc(reinterpret_cast<void**>(&device_tensors), count * sizeof(AdamWTensor)));
    check(cudaMalloc(reinterpret_cast<void**>(&adamw_step), sizeof(AdamWStep)));
    check(cudaMemcpy(device_tensors, tensors.data(), count * sizeof(AdamWTensor),
                     cudaMemcpyHostToDevice));
    check(cudaMemcpy(adamw_step, &values, sizeof values, cudaMemcpyHostToDevice));
    bench.row("adamw", s.name, 28 * weights, Bench::kPool, [=](char*) {
      return adamw(device_tensors, count, plan.chunks, adamw_step, 0.9f, 0.95f, 1e-8f, 0);
    });
  }
}

// Bytes: q and k read and written; backward q, k and v, with norms also the forward's q and k. The
// tables of angles stay in L2 and are not counted.
void bench_rope(Bench& bench, size_t rows, const float* gain, float* dgain, void* workspace,
                const std::function<GradientCodes(char*)>& codes) {
  struct Heads {
    int q, kv, dim;
  };
  constexpr int kSequence = 2048;
  const size_t table = static_cast<size_t>(kSequence) * 256;
  std::vector<int64_t> host(rows);
  for (size_t i = 0; i < rows; ++i) host[i] = i % kSequence;
  int64_t* positions;
  float *angles, *rstd;
  check(cudaMalloc(reinterpret_cast<void**>(&positions), rows * 8));
  check(cudaMemcpy(positions, host.data(), rows * 8, cudaMemcpyHostToDevice));
  check(cudaMalloc(reinterpret_cast<void**>(&angles), table * 4));
  check(cudaMemset(angles, 0x3f, table * 4));  // 0.747
  check(cudaMalloc(reinterpret_cast<void**>(&rstd), rows * 32 * 4));
  check(cudaMemset(rstd, 0x3f, rows * 32 * 4));
  for (Heads h : {Heads{9, 3, 64}, {16, 8, 128}, {20, 5, 128}}) {
    const int tokens = static_cast<int>(rows);
    const size_t turned = rows * (h.q + h.kv) * h.dim, all = rows * (h.q + 2 * h.kv) * h.dim;
    const size_t q = rows * h.q * h.dim, kv = rows * h.kv * h.dim;
    const QkvShape of = {kSequence, h.q, h.kv, h.dim};
    const std::string name = std::to_string(rows) + " x (" + std::to_string(h.q) + " + 2 * " +
                             std::to_string(h.kv) + ") * " + std::to_string(h.dim);
    const auto view = [=](char* p, int heads) {
      const int64_t token = static_cast<int64_t>(heads) * h.dim;
      return HeadsView{bf16(p), kSequence * token, token, h.dim};
    };
    bench.row("qkv_rope", name, 4 * turned, 2 * all,
              [=](char* p) { return qkv_rope(bf16(p), positions, angles, angles, tokens, of, 0); });
    bench.row("qkv_rope_backward", name, 4 * all, 4 * all, [=](char* p) {
      return qkv_rope_backward(view(p, h.q), view(p + 2 * q, h.kv), view(p + 2 * q + 2 * kv, h.kv),
                               positions, angles, angles, bf16(p + 2 * all), tokens, of, {}, 0);
    });
    bench.row("qkv_rope_backward, codes alone", name, 3 * all, 3 * all, [=](char* p) {
      return qkv_rope_backward(view(p, h.q), view(p + 2 * q, h.kv), view(p + 2 * q + 2 * kv, h.kv),
                               positions, angles, angles, nullptr, tokens, of, codes(p + 2 * all),
                               0);
    });
    if (h.dim == 64) continue;
    bench.row("qkv_norm_rope", name, 4 * turned, 2 * all + 2 * turned, [=](char* p) {
      return qkv_norm_rope(bf16(p), gain, gain, 1e-6f, positions, angles, angles, bf16(p + 2 * all),
                           bf16(p + 2 * all + 2 * q), rstd, tokens, of, 0);
    });
    bench.row("qkv_norm_rope_backward", name, 4 * all + 2 * turned, 6 * all, [=](char* p) {
      return qkv_norm_rope_backward(view(p, h.q), view(p + 2 * q, h.kv),
                                    view(p + 2 * q + 2 * kv, h.kv), bf16(p + 2 * all), rstd, gain,
                                    gain, positions, angles, angles, bf16(p + 4 * all), dgain,
                                    dgain + 256, workspace, tokens, of, {}, 0);
    });
    bench.row(
        "qkv_norm_rope_backward, codes alone", name, 3 * all + 2 * turned, 5 * all, [=](char* p) {
          return qkv_norm_rope_backward(view(p, h.q), view(p + 2 * q, h.kv),
                                        view(p + 2 * q + 2 * kv, h.kv), bf16(p + 2 * all), rstd,
                                        gain, gain, positions, angles, angles, nullptr, dgain,
                                        dgain + 256, workspace, tokens, of, codes(p + 4 * all), 0);
        });
  }
  check(cudaFree(positions));
  check(cudaFree(angles));
  check(cudaFree(rstd));
}

}  // namespace

int main(int argc, char** argv) {
  Bench bench(argc > 1 ? argv[1] : "");
  std::vector<float> ones(1 << 17, 1.0f);
  float *gain, *scale, *rstd;
  check(cudaMalloc(reinterpret_cast<void**>(&gain), ones.size() * 4));
  check(cudaMemcpy(gain, ones.data(), ones.size() * 4, cudaMemcpyHostToDevice));
  check(cudaMalloc(reinterpret_cast<void**>(&scale), 1 << 20));
  check(cudaMalloc(reinterpret_cast<void**>(&rstd), 1 << 20));
  float* dgain;
  void* workspace;
  check(cudaMalloc(reinterpret_cast<void**>(&dgain), 1 << 16));
  check(cudaMemset(dgain, 0, 1 << 16));
  check(cudaMalloc(&workspace, std::max(rms_norm_backward_workspace_bytes(),
                                        qkv_norm_rope_backward_workspace_bytes())));
  check(cudaMemset(rstd, 0x3f, 1 << 20));  // 0.747
  uint32_t* step;
  check(cudaMalloc(reinterpret_cast<void**>(&step), 4));
  check(cudaMemset(step, 0, 4));
  uint32_t* largest;
  check(cudaMalloc(reinterpret_cast<void**>(&largest), 1 << 17));
  check(cudaMemset(largest, 0, 1 << 17));
  void* maxima;
  check(cudaMalloc(&maxima, gradient_codes_workspace_bytes()));
  const auto codes = [=](char* p) {
    return GradientCodes{{},      {1, step, 0}, reinterpret_cast<int8_t*>(p), scale, gain,
                         largest, maxima};
  };
  bench_weights(bench);
  int64_t* labels;
  check(cudaMalloc(reinterpret_cast<void**>(&labels), 1 << 20));
  check(cudaMemset(labels, 0, 1 << 20));
  for (size_t vocab : {49152, 128256, 151936}) {
    const size_t rows = 4096, n = rows * vocab;
    bench.row("cross_entropy (6 bytes a logit)", shape(rows, vocab), 6 * n, 2 * n, [=](char* p) {
      return cross_entropy(bf16(p), labels, gain, scale, rows, vocab, vocab, 0);
    });
  }
  for (size_t rows : {16384, 65536}) {
    bench_rope(bench, rows, gain, dgain, workspace, codes);
    for (size_t width : {576, 1024, 2560}) {
      const size_t n = rows * width;
      bench.row("add_rms_norm_quant", shape(rows, width), 7 * n, 7 * n, [=](char* p) {
        return add_rms_norm_quant(bf16(p), bf16(p + 2 * n), gain, 1e-6f, bf16(p + 4 * n),
                                  reinterpret_cast<int8_t*>(p + 6 * n), scale, rstd, rows, width,
                                  0);
      });
      bench.row("rms_norm_quant", shape(rows, width), 3 * n, 3 * n, [=](char* p) {
        return rms_norm_quant(bf16(p), gain, 1e-6f, reinterpret_cast<int8_t*>(p + 2 * n), scale,
                              rstd, rows, width, 0);
      });
    }
    for (size_t width : {576, 1024, 2560}) {
      const size_t n = rows * width;
      bench.row("rms_norm_backward, residual", shape(rows, width), 8 * n, 8 * n, [=](char* p) {
        return rms_norm_backward(bf16(p), bf16(p + 2 * n), rstd, gain, bf16(p + 4 * n),
                                 bf16(p + 6 * n), dgain, true, workspace, rows, width, {}, 0);
      });
      bench.row("rms_norm_backward, residual, codes", shape(rows, width), 9 * n, 9 * n,
                [=](char* p) {
                  return rms_norm_backward(bf16(p), bf16(p + 2 * n), rstd, gain, bf16(p + 4 * n),
                                           bf16(p + 6 * n), dgain, true, workspace, rows, width,
                                           codes(p + 8 * n), 0);
                });
    }
    for (size_t width : {1536, 3072, 6912}) {
      const size_t n = rows * width;
      const auto activation = width == 6912 ? GluActivation::kRelu2 : GluActivation::kSilu;
      const std::string glu = width == 6912 ? "glu_norm_backward relu2" : "glu_norm_backward silu";
      bench.row(glu, shape(rows, width), 10 * n, 10 * n, [=](char* p) {
        return glu_norm_backward(bf16(p), bf16(p + 2 * n), activation, rstd, gain, bf16(p + 6 * n),
                                 dgain, true, workspace, rows, width, {}, 0);
      });
      bench.row(glu + ", codes alone", shape(rows, width), 8 * n, 8 * n, [=](char* p) {
        return glu_norm_backward(bf16(p), bf16(p + 2 * n), activation, rstd, gain, nullptr, dgain,
                                 true, workspace, rows, width, codes(p + 6 * n), 0);
      });
    }
    for (size_t width : {576, 960, 1024, 2560, 3072, 6144, 13824}) {
      const size_t n = rows * width;
      bench.row("quantize_gradient_rows", shape(rows, width), 3 * n, 3 * n, [=](char* p) {
        return quantize_gradient_rows(bf16(p), {}, {1, step, 0},
                                      reinterpret_cast<int8_t*>(p + 2 * n), scale, rows, width, 0);
      });
    }
    for (size_t width : {576, 3072, 13824}) {
      const size_t n = rows * width;
      bench.row("quantize_gradient_columns", shape(rows, width), 2 * n, 2 * n, [=](char* p) {
        return quantize_gradient_columns(reinterpret_cast<int8_t*>(p), gain, {}, gain,
                                         reinterpret_cast<const uint32_t*>(rstd), {1, step, 1},
                                         reinterpret_cast<int8_t*>(p + n), scale, rows, width, 0);
      });
    }
    for (size_t width : {576, 1536, 2560}) {
      const size_t n = rows * width;
      bench.row("dequantize_rows", shape(rows, width), 3 * n, 3 * n, [=](char* p) {
        return dequantize_rows(reinterpret_cast<int8_t*>(p), gain, bf16(p + n), rows, width, 0);
      });
      bench.row("transpose_s8", shape(rows, width), 2 * n, 2 * n, [=](char* p) {
        return transpose_s8(reinterpret_cast<int8_t*>(p), reinterpret_cast<int8_t*>(p + n), rows,
                            width, 0);
      });
    }
    for (size_t width : {1536, 3072, 6912}) {
      const size_t n = rows * width;
      const auto activation = width == 6912 ? GluActivation::kRelu2 : GluActivation::kSilu;
      bench.row(width == 6912 ? "glu_norm_quant relu2" : "glu_norm_quant silu", shape(rows, width),
                5 * n, 5 * n, [=](char* p) {
                  return glu_norm_quant(bf16(p), activation, gain, 1e-6f,
                                        reinterpret_cast<int8_t*>(p + 4 * n), scale, rstd, rows,
                                        width, 0);
                });
    }
  }
}
