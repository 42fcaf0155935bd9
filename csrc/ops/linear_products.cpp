#ifdef WF_CUDA
#include "ops/linear_products.h"

#include <torch/torch.h>

#include "kernels/dequantize_rows.h"
#include "kernels/gemm_s8.h"
#include "kernels/ternarize.h"

namespace wf::ops {

using torch::Tensor;

namespace {

Tensor product_s8(const Tensor& a, const Tensor& b, const Tensor& row_scale,
                  const kernels::ColumnScales& columns) {
  const int m = int(a.size(0)), n = int(b.size(0)), k = int(a.size(1));
  Tensor d = torch::empty({m, n}, a.options().dtype(torch::kBFloat16));
  launched(kernels::gemm_s8_bf16(a.const_data_ptr<int8_t>(), b.const_data_ptr<int8_t>(),
                                 row_scale.const_data_ptr<float>(), columns, bf16(d), m, n, k,
                                 kernels::gemm_s8_bf16_config(m, n, k), current_stream()),
           "gemm_s8_bf16");
  return d;
}

// bf16(codes / scale), or the codes themselves without a scale.
Tensor dequantize(const Tensor& codes, const Tensor& scale) {
  Tensor out = torch::empty_like(codes, codes.options().dtype(torch::kBFloat16));
  launched(
      kernels::dequantize_rows(codes.const_data_ptr<int8_t>(),
                               scale.defined() ? scale.const_data_ptr<float>() : nullptr, bf16(out),
                               int(codes.size(0)), int(codes.size(1)), current_stream()),
      "dequantize_rows");
  return out;
}

}  // namespace

Tensor forward_product(FusedLinear& linear, const NormedRows& in) {
  const TernaryGroup& group = linear.group;
  if (!in.scale.defined()) return in.rows.mm(group.blend.t());
  linear.input_scale = in.scale;
  return product_s8(in.rows, group.codes, in.scale, column_scales(group));
}

LinearBackward::LinearBackward(FusedLinear& linear, const Tensor& dy, const NormedRows& in,
                               const Tensor& blend, const Noise& noise)
    : linear_(linear), dy_(dy), in_(in), blend_(blend), noise_(noise) {
  GradientCodes handed = std::exchange(linear.handed, {});
  // Held by `handed`, so no other tensor can have its address.
  if (handed.gradient.defined() && handed.gradient.data_ptr() == dy.data_ptr()) {
    codes_ = std::move(handed);
    return;
  }
  dy_ = dy.contiguous();
  if (!blend_.defined() && linear.int8.input) quantize_rows();
}

void LinearBackward::quantize_rows() {
  codes_.codes = torch::empty_like(dy_, dy_.options().dtype(torch::kChar));
  codes_.scale = torch::empty({rows()}, dy_.options().dtype(torch::kFloat));
  launched(kernels::quantize_gradient_rows(
               bf16(dy_), column_scales(linear_.group),
               noise_stream(linear_, noise_, NoiseOf::kRows), codes_.codes.data_ptr<int8_t>(),
               codes_.scale.data_ptr<float>(), rows(), width(), current_stream()),
           "quantize_gradient_rows");
}

Tensor LinearBackward::input() const {
  if (blend_.defined()) return dy_.mm(blend_);
  if (!linear_.int8.input) return input_bf16();
  return product_s8(codes_.codes, linear_.group.codes_transposed, codes_.scale, {});
}

Tensor LinearBackward::weight() const {
  if (blend_.defined()) return at::mm(dy_.t(), in_.rows, torch::kFloat);
  return linear_.int8.weight ? weight_int8() : weight_bf16();
}

Tensor LinearBackward::input_bf16() const {
  const TernaryGroup& group = linear_.group;
  Tensor scaled = torch::empty_like(dy_);
  for (size_t i = 0, first = 0; i < group.ends.size(); first = size_t(group.ends[i++])) {
    Tensor part = scaled.slice(1, int64_t(first), group.ends[i]);
    at::mul_out(part, dy_.slice(1, int64_t(first), group.ends[i]), group.deltas[int64_t(i)]);
  }
  return scaled.mm(dequantize(group.codes, {}));
}

Tensor LinearBackward::weight_int8() const {
  const auto wide = dy_.options().dtype(torch::kFloat);
  const auto* codes = codes_.codes.const_data_ptr<int8_t>();
  const auto* scale = codes_.scale.const_data_ptr<float>();
  const auto* input_scale = in_.scale.const_data_ptr<float>();
  const auto bits = [](const Tensor& t) {
    return reinterpret_cast<uint32_t*>(t.data_ptr<int32_t>());
  };
  Tensor largest = codes_.largest;
  if (!largest.defined()) {
    largest = torch::empty({width()}, dy_.options().dtype(torch::kInt));
    launched(kernels::gradient_column_maxima(codes, scale, input_scale, bits(largest), rows(),
                                             width(), current_stream()),
             "gradient_column_maxima");
  }
  Tensor columns = torch::empty({width(), rows()}, dy_.options().dtype(torch::kChar));
  Tensor column_scale = torch::empty({width()}, wide);
  launched(kernels::quantize_gradient_columns(
               codes, scale, column_scales(linear_.group), input_scale, bits(largest),
               noise_stream(linear_, noise_, NoiseOf::kColumns), columns.data_ptr<int8_t>(),
               column_scale.data_ptr<float>(), rows(), width(), current_stream()),
           "quantize_gradient_columns");
  const int in = int(in_.rows.size(1));
  Tensor transposed = torch::empty({in, rows()}, in_.rows.options());
  launched(kernels::transpose_s8(in_.rows.const_data_ptr<int8_t>(), transposed.data_ptr<int8_t>(),
                                 rows(), in, current_stream()),
           "transpose_s8");
  Tensor workspace = torch::empty({int64_t(kernels::gemm_s8_workspace_bytes())},
                                  dy_.options().dtype(torch::kByte));
  Tensor dw = torch::empty({width(), in}, wide);
  launched(
      kernels::gemm_s8_f32(columns.const_data_ptr<int8_t>(), transposed.const_data_ptr<int8_t>(),
                           column_scale.const_data_ptr<float>(), dw.data_ptr<float>(), width(), in,
                           rows(), workspace.data_ptr(),
                           kernels::gemm_s8_f32_config(width(), in, rows()), current_stream()),
      "gemm_s8_f32");
  return dw;
}

Tensor LinearBackward::weight_bf16() const {
  return at::mm(dy_.t(), dequantize(in_.rows, in_.scale), torch::kFloat);
}

}  // namespace wf::ops
#endif
