#include "data/mixture.h"

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "data/packer.h"

namespace wf {
namespace {

enum Draw : uint64_t { kSource, kRows };  // what the seed's random bits are for

}  // namespace

Mixture::Mixture(const Config& config, const DataShape& shape)
    : shape_(shape), draw_key_(random_bits(config.seed, kSource)) {
  if (config.sources.empty()) fail("the mixture has no sources; name at least one prepared folder");
  for (const Source& source : config.sources) {
    TokenShards corpus(source.path);
    corpus.check_fits(shape);
    const RowOrder order(random_bits(config.seed, kRows, streams_.size()), corpus.tokens(),
                         shape.sequence_length);
    streams_.push_back({std::move(corpus), order, source.weight});
    check_same_tokenizer(streams_.front().corpus, streams_.back().corpus);
    total_weight_ += source.weight;
  }
}

Batch Mixture::next() {
  Packer packer(shape_.batch_size, shape_.sequence_length);
  const int64_t global_rows = shape_.batch_size * shape_.size;
  for (int64_t i = 0; i < global_rows; ++i) {
    Stream& stream = stream_of(row_ + i);
    if (i % shape_.size == shape_.rank)
      packer.add(stream.corpus, stream.order.first_token(stream.epoch, stream.row));
    stream.advance();
  }
  row_ += global_rows;
  return packer.finish();
}

Mixture::Stream& Mixture::stream_of(int64_t row) {
  double left = random_uniform(draw_key_, row) * total_weight_;
  for (Stream& stream : streams_)
    if ((left -= stream.weight) < 0) return stream;
  return streams_.back();  // rounding left a remainder
}

void Mixture::Stream::advance() {
  if (++row < order.rows(epoch)) return;
  if (epoch == 0)
    log::say("{}: first epoch over (rows: {}), starting again", corpus.folder().string(), row);
  ++epoch;
  row = 0;
}

void Mixture::state(StateVisitor& visit) {
  visit("row", row_);
  // A place means the same only in the same rows.
  int64_t sequence_length = shape_.sequence_length;
  visit("sequence_length", sequence_length);
  if (sequence_length != shape_.sequence_length)
    fail("the saved data position counts rows of {} tokens, this run's sequence_length is {}",
         sequence_length, shape_.sequence_length);
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    Stream& stream = streams_[i];
    Prefixed within(visit, fmt::format("sources.{}.", i));
    int64_t tokens = stream.corpus.tokens();
    within("tokens", tokens);
    if (tokens != stream.corpus.tokens())
      fail(
          "{}: has {} tokens, it had {} when the data position was saved; resume with the same "
          "data",
          stream.corpus.folder().string(), stream.corpus.tokens(), tokens);
    within("epoch", stream.epoch);
    within("row", stream.row);
  }
}

std::vector<const TokenShards*> Mixture::corpora() const {
  std::vector<const TokenShards*> all;
  for (const Stream& stream : streams_) all.push_back(&stream.corpus);
  return all;
}

}  // namespace wf
