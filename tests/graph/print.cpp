// SPDX-License-Identifier: Apache-2.0
// Graphs as text and as DOT.
#include "qwq/graph/print.hpp"

#include <doctest/doctest.h>

#include <sstream>
#include <string>

#include "qwq/graph/builder.hpp"

using namespace qwq;

namespace {

graph<8> small() {
  graph<8> g;
  builder b{g};
  const expr x = leaf(b, op::input, "x", {dtype::f32, {1, dim{64, "sequence_length"}, 8}});
  const expr w = leaf(b, op::weight, "norm.weight", {dtype::bf16, {8}});
  b.module = "norm";
  const expr h = rms_norm(x, cast(w, dtype::f32), 0.5);
  b.module = "mlp";
  b.rule = "to_nchw";
  const expr q = apply(op::fake_quant, {}, transpose(h, {{0, 2, 1}, 3}));
  b[q.id].slot = 4;
  b.output("y", q.id);
  return g;
}

std::string dot() {
  std::ostringstream out;
  print_dot(out, small(), "block");
  return out.str();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a graph is printed one node a line") {
  std::ostringstream out;
  print(out, small());
  CHECK(out.str() ==
        "%0 = input() : f32[1,sequence_length,8]  # x\n"
        "%1 = weight() multiplier=1 : bf16[8]  # norm.weight\n"
        "%2 = cast(%1) : f32[8]  # norm\n"
        "%3 = rms_norm(%0, %2) eps=0.5 : f32[1,sequence_length,8]  # norm\n"
        "%4 = transpose(%3) perm=0,2,1 : f32[1,8,sequence_length]  # mlp by to_nchw\n"
        "%5 = fake_quant(%4) slot=4 : f32[1,8,sequence_length]  # mlp by to_nchw\n"
        "return %5 as y\n");
}

TEST_CASE("nothing is printed of an empty graph") {
  std::ostringstream out;
  print(out, graph<8>{});
  CHECK(out.str().empty());
}

TEST_CASE("DOT is one digraph") {
  const std::string text = dot();
  CHECK(text.starts_with("digraph \"block\" {\n"));
  CHECK(text.ends_with("}\n"));
  CHECK(text.find('}') == text.size() - 2);
}

TEST_CASE("DOT has the nodes, leaves as boxes") {
  const std::string text = dot();
  CHECK(contains(text, "  n0 [label=\"input\\nx\", shape=box];\n"));
  CHECK(contains(text, "  n1 [label=\"weight\\nnorm.weight\", shape=box];\n"));
  CHECK(contains(text, "  n3 [label=\"rms_norm\\nnorm\"];\n"));
  CHECK(contains(text, "  out_5 [label=\"y\", shape=box];\n"));
}

TEST_CASE("DOT has the edges, labelled with what flows over them") {
  const std::string text = dot();
  CHECK(contains(text, "  n0 -> n3 [label=\"f32[1,sequence_length,8]\"];\n"));
  CHECK(contains(text, "  n1 -> n2 [label=\"bf16[8]\"];\n"));
  CHECK(contains(text, "  n4 -> n5 [label=\"f32[1,8,sequence_length]\"];\n"));
  CHECK(contains(text, "  n5 -> out_5;\n"));
  std::size_t edges = 0;
  for (std::size_t at = text.find("->"); at != std::string::npos; at = text.find("->", at + 1)) ++edges;
  CHECK(edges == 6);
}
