#include "formats/sentencepiece.h"

#include "tests/fuzz/target.h"

void wf::fuzz::read_all(const std::filesystem::path& file) { read_sentencepiece(file); }
