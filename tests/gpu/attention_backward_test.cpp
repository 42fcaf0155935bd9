// The backward of attention against the closed form in fp64.
#include "kernels/attention_backward.h"

#include <cmath>

#include "device.h"

namespace {

using namespace wf::kernels;
using namespace wf::testing;

constexpr int kDim = kAttentionHeadDim;

struct Case {
  int rows, length, heads, kv_heads;
  std::vector<int> starts;  // of documents, with all tokens at the end
  float size = 1;           // of q and k
};

// [tokens, heads, 64] in fp64 and what a kernel reads: bf16 rows `pitch` apart, from `offset` on.
struct Matrix {
  int heads;
  std::vector<double> values;
  double& at(int token, int head, int i) {
    return values[(int64_t(token) * heads + head) * kDim + i];
  }
};

struct Gradients {
  Matrix dq, dk, dv;
};

class AttentionBackwardTest : public Gpu {
 protected:
  Matrix random(int tokens, int heads, float size) {
    Matrix m{heads, std::vector<double>(size_t(tokens) * heads * kDim)};
    for (double& x : m.values) x = round_to_bf16(size * normal());
    return m;
  }

  // Forward and backward by their definitions; fills out, rounded as a kernel leaves it, and lse.
  static Gradients reference(const Case& c, Matrix& q, Matrix& k, Matrix& v, Matrix& dout,
                             Matrix& out, std::vector<float>& lse) {
    const int tokens = c.rows * c.length, group = c.heads / c.kv_heads;
    Gradients g{q, k, v};
    for (Matrix* m : {&g.dq, &g.dk, &g.dv}) std::fill(m->values.begin(), m->values.end(), 0.0);
    out = q;
    lse.assign(size_t(tokens) * c.heads, 0);
    for (size_t d = 0; d + 1 < c.starts.size(); ++d) {
      for (int head = 0; head < c.heads; ++head) {
        const int kv = head / group;
        for (int n = c.starts[d]; n < c.starts[d + 1]; ++n) {
          const int first = c.starts[d], seen = n - first + 1;
          std::vector<double> p(seen), dp(seen);
          double top = -INFINITY, sum = 0, delta = 0;
          for (int m = 0; m < seen; ++m) {
            for (int i = 0; i < kDim; ++i) p[m] += q.at(n, head, i) * k.at(first + m, kv, i) / 8;
            top = std::max(top, p[m]);
          }
          for (double& x : p) sum += x = std::exp(x - top);
          lse[(int64_t(n / c.length) * c.heads + head) * c.length + n % c.length] =
              float(top + std::log(sum));
          for (int i = 0; i < kDim; ++i) {
            double o = 0;
            for (int m = 0; m < seen; ++m) o += p[m] / sum * v.at(first + m, kv, i);
            out.at(n, head, i) = round_to_bf16(float(o));
          }
          for (int m = 0; m < seen; ++m) {
            p[m] /= sum;
            for (int i = 0; i < kDim; ++i) dp[m] += dout.at(n, head, i) * v.at(first + m, kv, i);
            delta += p[m] * dp[m];
          }
          for (int m = 0; m < seen; ++m) {
            const double ds = p[m] * (dp[m] - delta) / 8;
            for (int i = 0; i < kDim; ++i) {
              g.dv.at(first + m, kv, i) += p[m] * dout.at(n, head, i);
              g.dq.at(n, head, i) += ds * k.at(first + m, kv, i);
              g.dk.at(first + m, kv, i) += ds * q.at(n, head, i);
            }
          }
        }
      }
    }
    return g;
  }

  static void expect_close(const std::vector<uint16_t>& got, const Matrix& want, const char* name) {
    double wrong = 0, all = 0, worst = 0, largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const double difference = std::abs(from_bf16_bits(got[i]) - want.values[i]);
      wrong += difference * difference, all += want.values[i] * want.values[i];
      worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
      largest = std::max(largest, std::abs(want.values[i]));
    }
    // P, dS and the results are rounded to 8 bits of mantissa, O before it is taken; where nothing
    // is left of dP - delta, as behind one key alone, their sums' rounding is.
    EXPECT_LE(std::sqrt(wrong), 8e-3 * std::sqrt(all) + 1e-5) << name;
    EXPECT_LE(worst, 2e-2 * largest + 1e-5) << name;
  }

  void run(const Case& c) {
    const int tokens = c.rows * c.length;
    SCOPED_TRACE(std::to_string(c.rows) + " x " + std::to_string(c.length) + " tokens, " +
                 std::to_string(c.heads) + " heads of " + std::to_string(c.kv_heads));
    Matrix q = random(tokens, c.heads, c.size), k = random(tokens, c.kv_heads, c.size);
    Matrix v = random(tokens, c.kv_heads, 1), dout = random(tokens, c.heads, 1), out;
    std::vector<float> lse;
    const Gradients want = reference(c, q, k, v, dout, out, lse);

    // q, k and v beside each other, as one product leaves them.
    const int pitch = (c.heads + 2 * c.kv_heads) * kDim;
    std::vector<uint16_t> all(size_t(tokens) * pitch);
    const auto place = [&](Matrix& m, int first, std::vector<uint16_t>& to, int row) {
      for (int n = 0; n < tokens; ++n)
        for (int j = 0; j < m.heads * kDim; ++j)
          to[size_t(n) * row + first * kDim + j] =
              bf16_bits(float(m.values[size_t(n) * m.heads * kDim + j]));
    };
    place(q, 0, all, pitch);
    place(k, c.heads, all, pitch);
    place(v, c.heads + c.kv_heads, all, pitch);
    std::vector<uint16_t> flat_out(out.values.size()), flat_dout(out.values.size());
    place(out, 0, flat_out, c.heads * kDim);
    place(dout, 0, flat_dout, c.heads * kDim);
    const DeviceArray<uint16_t> device_qkv(all), device_out(flat_out), device_dout(flat_dout);
    const DeviceArray<float> device_lse(lse);
    const DeviceArray<int> device_starts(c.starts);
    const DeviceArray<uint8_t> workspace(attention_backward_workspace_bytes(tokens, c.heads));
    std::vector<uint16_t> first[3];
    for (int repeat = 0; repeat < 2; ++repeat) {
      const DeviceArray<uint16_t> dq(size_t(tokens) * c.heads * kDim);
      const DeviceArray<uint16_t> dk(size_t(tokens) * c.kv_heads * kDim), dv(dk.size());
      AttentionBackward p = {};
      const auto* base = as_bf16(device_qkv);
      p.q = {base, pitch};
      p.k = {base + c.heads * kDim, pitch};
      p.v = {base + (c.heads + c.kv_heads) * kDim, pitch};
      p.out = {as_bf16(device_out), c.heads * kDim};
      p.dout = {as_bf16(device_dout), c.heads * kDim};
      p.lse = device_lse.get(), p.lse_rows = c.length;
      p.starts = device_starts.get(), p.documents = int(c.starts.size()) - 1;
      p.dq = as_bf16(dq), p.dk = as_bf16(dk), p.dv = as_bf16(dv);
      p.tokens = tokens, p.heads = c.heads, p.kv_heads = c.kv_heads, p.row_length = c.length;
      check(attention_backward(p, workspace.get(), nullptr));
      finish();
      const std::vector<uint16_t> got[3] = {dq.read(), dk.read(), dv.read()};
      for (int i = 0; i < 3; ++i) {
        if (repeat == 0) first[i] = got[i];
        EXPECT_EQ(first[i], got[i]) << "two runs differ";
      }
    }
    expect_close(first[0], want.dq, "dq");
    expect_close(first[1], want.dk, "dk");
    expect_close(first[2], want.dv, "dv");
  }

  static std::vector<int> plain(int rows, int length) {
    std::vector<int> starts;
    for (int i = 0; i <= rows; ++i) starts.push_back(i * length);
    return starts;
  }
};

TEST_F(AttentionBackwardTest, PlainRowsAreTheClosedForm) {
  for (const auto [rows, length, heads, kv] :
       {std::array{1, 64, 1, 1}, {1, 128, 1, 1}, {2, 256, 3, 1}, {3, 384, 6, 2}, {1, 640, 4, 4}})
    run({rows, length, heads, kv, plain(rows, length)});
}

TEST_F(AttentionBackwardTest, RowsOfAnyLengthAreTheClosedForm) {
  for (const auto [rows, length] :
       {std::array{1, 1}, {1, 17}, {3, 50}, {5, 100}, {2, 333}, {1, 577}})
    run({rows, length, 3, 1, plain(rows, length)});
}

TEST_F(AttentionBackwardTest, DocumentsDoNotSeeEachOther) {
  run({1, 512, 3, 1, {0, 1, 2, 66, 130, 300, 301, 512}});
  run({2, 256, 6, 3, {0, 100, 256, 257, 384, 511, 512}});
  for (int repeat = 0; repeat < 4; ++repeat) {
    const int rows = 2, length = 16 * int(5 + random_() % 24);
    std::vector<int> starts;
    for (int row = 0; row < rows; ++row)
      for (int at = 0; at < length; at += 1 + int(random_() % 200))
        starts.push_back(row * length + at);
    starts.push_back(rows * length);
    run({rows, length, 3, 1, starts});
  }
}

// One key takes nearly all of the sum: exponents far below zero, and rows whose dS cancels.
TEST_F(AttentionBackwardTest, SharpAttentionIsTheClosedForm) {
  run({1, 320, 3, 1, plain(1, 320), 3});
}

TEST_F(AttentionBackwardTest, RefusesWhatItCannotCompute) {
  AttentionBackward p = {};
  p.tokens = 64, p.heads = 3, p.kv_heads = 2, p.lse_rows = p.row_length = 64, p.documents = 1;
  EXPECT_EQ(attention_backward(p, nullptr, nullptr), cudaErrorInvalidValue);  // 3 heads on 2
  p.kv_heads = 1, p.q.pitch = 68;
  EXPECT_EQ(attention_backward(p, nullptr, nullptr), cudaErrorInvalidValue);  // rows unaligned
}

}  // namespace
