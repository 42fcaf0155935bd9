// A SentencePiece model file (tokenizer.model): the fields of its protobuf that a vocabulary needs.
// Source of the field numbers: sentencepiece_model.proto of github.com/google/sentencepiece.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace wf {

struct SentencePiece {
  enum Type { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  std::string piece;
  float score = 0;
  int type = kNormal;
};

struct SentencePieceModel {
  enum Kind { kUnigram = 1, kBpe, kWord, kChar };
  std::vector<SentencePiece> pieces;  // index = id
  int kind = kUnigram;
  int unk_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;  // -1: none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool normalizes = false;  // has a table of character replacements
};

// Throws Error naming the file when it is torn or is no such model.
SentencePieceModel read_sentencepiece(const std::filesystem::path& path);

}  // namespace wf
