#include "ternary/packed_codes.h"

#include "base/error.h"

namespace wf {

std::vector<uint8_t> pack_codes(std::span<const int8_t> codes, int64_t rows, int64_t columns) {
  if (rows % 4)
    fail("a matrix of {} rows cannot be packed four codes a byte: the rows must be a multiple of 4",
         rows);
  const auto quarter = std::size_t(rows / 4 * columns);
  std::vector<uint8_t> packed(quarter);
  for (int i = 0; i < 4; ++i)
    for (std::size_t k = 0; k < quarter; ++k)
      packed[k] |= uint8_t((codes[std::size_t(i) * quarter + k] + 1) << 2 * i);
  return packed;
}

bool unpack_codes(std::span<const uint8_t> packed, int64_t rows, int64_t columns, int64_t first,
                  int64_t count, int8_t* codes) {
  const int64_t quarter = rows / 4;
  uint8_t unused = 0;
  for (int64_t row = first; row < first + count; ++row) {
    const uint8_t* in = packed.data() + row % quarter * columns;
    const int shift = static_cast<int>(2 * (row / quarter));
    for (int64_t k = 0; k < columns; ++k) {
      const auto code = static_cast<uint8_t>(in[k] >> shift & 3);
      unused |= code & code >> 1;
      *codes++ = static_cast<int8_t>(code - 1);
    }
  }
  return unused == 0;
}

}  // namespace wf
