// Four ternary codes a byte, as transformers' bitnet integration stores them: byte row j, column k
// holds in bits 2i..2i+1 the code t+1 of row i·(M/4)+j, column k.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace wf {

// codes: [rows, columns] −1/0/+1 -> [rows/4, columns]. Throws Error when 4 does not divide rows.
std::vector<uint8_t> pack_codes(std::span<const int8_t> codes, int64_t rows, int64_t columns);

// packed: [rows/4, columns]; the codes of rows first .. first + count − 1. Returns false when one
// is none of −1, 0 and 1 (but 2).
bool unpack_codes(std::span<const uint8_t> packed, int64_t rows, int64_t columns, int64_t first,
                  int64_t count, int8_t* codes);

}  // namespace wf
