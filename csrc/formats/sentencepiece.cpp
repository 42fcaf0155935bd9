#include "formats/sentencepiece.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/file.h"

namespace wf {
namespace {

// Protobuf's wire format: a message is a row of fields, each a number, a wire type and a value.
class Message {
 public:
  Message(std::string_view bytes, const std::filesystem::path& path) : left_(bytes), path_(path) {}

  bool next() {
    if (left_.empty()) return false;
    const uint64_t key = varint();
    field = int(key >> 3);
    wire = int(key & 7);
    switch (wire) {
      case 0:
        number = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        std::memcpy(&real, take(4).data(), 4);
        break;
      default:
        torn();
    }
    return true;
  }
  bool is_number(int wanted) const { return field == wanted && wire == 0; }
  bool is_bytes(int wanted) const { return field == wanted && wire == 2; }
  bool is_real(int wanted) const { return field == wanted && wire == 5; }

  int field = 0, wire = 0;
  uint64_t number = 0;
  float real = 0;
  std::string_view bytes;

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = uint8_t(take(1)[0]);
      value |= uint64_t(byte & 127) << shift;
      if (byte < 128) return value;
    }
    torn();
  }
  std::string_view take(uint64_t size) {
    if (size > left_.size()) torn();
    const auto taken = left_.substr(0, size);
    left_.remove_prefix(size);
    return taken;
  }
  [[noreturn]] void torn() const {
    fail("{}: not a whole SentencePiece model; download it again", path_.string());
  }

  std::string_view left_;
  const std::filesystem::path& path_;
};

}  // namespace

SentencePieceModel read_sentencepiece(const std::filesystem::path& path) {
  static_assert(std::endian::native == std::endian::little);
  const std::string file = read_text(path);
  SentencePieceModel model;
  for (Message top(file, path); top.next();) {
    Message part(top.bytes, path);
    if (top.is_bytes(1)) {  // pieces
      auto& piece = model.pieces.emplace_back();
      while (part.next()) {
        if (part.is_bytes(1)) piece.piece = part.bytes;
        if (part.is_real(2)) piece.score = part.real;
        if (part.is_number(3)) piece.type = int(part.number);
      }
    } else if (top.is_bytes(2)) {  // trainer_spec
      while (part.next()) {
        if (part.is_number(3)) model.kind = int(part.number);
        if (part.is_number(40)) model.unk_id = int(part.number);
        if (part.is_number(41)) model.bos_id = int(part.number);
        if (part.is_number(42)) model.eos_id = int(part.number);
        if (part.is_number(43)) model.pad_id = int(part.number);
      }
    } else if (top.is_bytes(3)) {  // normalizer_spec
      while (part.next()) {
        if (part.is_bytes(2)) model.normalizes = !part.bytes.empty();
        if (part.is_number(3)) model.add_dummy_prefix = part.number != 0;
        if (part.is_number(4)) model.remove_extra_whitespaces = part.number != 0;
      }
    }
  }
  if (model.pieces.empty())
    fail("{}: holds no vocabulary; a SentencePiece model was expected", path.string());
  return model;
}

}  // namespace wf
