#!/bin/sh
# Every include points down the list in csrc/layers.txt or stays inside its own layer; Torch enters at ops.
awk '
  FNR == NR { rank[$1] = FNR; next }
  { split(FILENAME, path, "/"); from = path[2] }
  match($0, /^#include "[a-z_]+\//) {
    to = substr($0, 11, RLENGTH - 11)
    if ((to in rank) && (from in rank) && rank[to] > rank[from]) {
      print FILENAME ":" FNR ": " from " may not include " to; bad = 1 }
  }
  /^#include <(torch|ATen|c10)\// && rank[from] < rank["ops"] {
    print FILENAME ":" FNR ": " from " may not include Torch"; bad = 1 }
  END { exit bad }' csrc/layers.txt $(find csrc -name "*.h" -o -name "*.cpp")
