// SPDX-License-Identifier: Apache-2.0
// Matrices of stored rows: strides, turns, offset and multiplier, element types.
#include <qwq/weights/source.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "stored.hpp"

using namespace qwq;

TEST_CASE("a whole tensor is read as it is stored") {
  const auto values = counting(7 * 5, -9);
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
    const stored_checkpoint c({{"odd", {7, 5}, values, type}});
    const weight_source w = weight_source::from(c->at("odd"));
    CHECK(w.rows() == 7);
    CHECK(w.cols() == 5);
    CHECK(w.size() == 35);
    CHECK(w.type() == type);
    CHECK(w.is_stored());
    CHECK(w.data() == c->at("odd").data);
    CHECK(w.where() == c.file() + ": tensor 'odd'");
    CHECK(w.key() == "odd");
    for (const std::int64_t step : {1, 2, 3, 100}) CHECK(read_all(w, step) == values);
  }
}

TEST_CASE("vectors and scalars are one row, more axes are columns") {
  const stored_checkpoint c(
      {{"v", {6}, counting(6)}, {"s", {}, counting(1, 3)}, {"five", {2, 3, 2, 1, 2}, counting(24)}});
  const weight_source v = weight_source::from(c->at("v")), s = weight_source::from(c->at("s")),
                      five = weight_source::from(c->at("five"));
  CHECK(v.rows() == 1);
  CHECK(v.cols() == 6);
  CHECK(read_all(s) == std::vector<float>{3});
  CHECK(five.rows() == 2);
  CHECK(five.cols() == 12);
  CHECK(five.is_stored());
  CHECK(read_all(five) == counting(24));
}

TEST_CASE("values that are not finite keep their bits") {
  const float inf = std::numeric_limits<float>::infinity();
  const stored_checkpoint c({{"x", {1, 3}, {-0.0f, inf, -inf}}});
  std::vector<float> out(3);
  weight_source::from(c->at("x")).read(0, 1, out);
  CHECK(std::signbit(out[0]));
  CHECK(out[1] == inf);
  CHECK(out[2] == -inf);
}

TEST_CASE("value = multiplier * (stored + offset)") {
  const stored_checkpoint c({{"w", {1, 3}, {-1, 0.25f, 2}, dtype::bf16}});
  const auto values = [&](double multiplier, double offset) {
    const weight_source w = weight_source::from(c->at("w"), multiplier, offset);
    CHECK_FALSE(w.is_stored());
    CHECK(w.data() == nullptr);
    return read_all(w);
  };
  CHECK(values(1, 1) == std::vector<float>{0, 1.25f, 3});
  CHECK(values(2, 0) == std::vector<float>{-2, 0.5f, 4});
  CHECK(values(3, 1) == std::vector<float>{0, 3.75f, 9});
  const auto key = [&](double multiplier, double offset) {
    return weight_source::from(c->at("w"), multiplier, offset).key();
  };
  CHECK(key(1, 0) == "w");
  CHECK(key(2, 0) != key(1, 2));
  CHECK(key(2, 1) != key(1, 2));
  CHECK(key(1 + 1e-12, 0) != key(1, 0));
}

TEST_CASE("pieces follow each other, and adjoining ones are one") {
  const stored_checkpoint c({{"a", {4, 3}, counting(12)}, {"b", {2, 3}, counting(6, 100), dtype::f16}});
  const tensor_info &a = c->at("a"), &b = c->at("b");
  weight_source w("leaf", 3);
  w.append({&a, 3, 2, 3, 1});
  CHECK(w.is_stored());
  CHECK(w.data() == a.data + 3 * sizeof(float));
  CHECK(w.where() == c.file() + ": tensor 'a'");
  w.append({&a, 9, 1, 3, 1});
  CHECK(w.is_stored());
  CHECK(w.rows() == 3);
  w.append({&b, 0, 2, 3, 1});
  CHECK_FALSE(w.is_stored());
  CHECK(w.where() == c.file() + ": tensor 'leaf'");
  const std::vector<float> expected{3, 4, 5, 6, 7, 8, 9, 10, 11, 100, 101, 102, 103, 104, 105};
  for (const std::int64_t step : {1, 2, 4, 5}) CHECK(read_all(w, step) == expected);
}

TEST_CASE("a transposed piece and one with any strides") {
  const stored_checkpoint c({{"t", {3, 5}, counting(15), dtype::bf16}});
  const tensor_info& t = c->at("t");
  weight_source transposed("leaf", 3);
  transposed.append({&t, 1, 4, 1, 5});  // columns 1 to 4
  CHECK_FALSE(transposed.is_stored());
  const std::vector<float> expected{1, 6, 11, 2, 7, 12, 3, 8, 13, 4, 9, 14};
  for (const std::int64_t step : {1, 3, 4}) CHECK(read_all(transposed, step) == expected);
  weight_source strided("leaf", 2);
  strided.append({&t, 0, 2, 10, 3});
  CHECK(read_all(strided) == std::vector<float>{0, 3, 10, 13});
}

TEST_CASE("two sources take turns") {
  const stored_checkpoint c({{"a", {3, 2}, counting(6)}, {"b", {2, 3}, counting(6, 10)}});
  weight_source b("b", 2);
  b.append({&c->at("b"), 0, 3, 1, 3});  // transposed
  const weight_source w = weight_source::interleave("both", weight_source::from(c->at("a")), b);
  CHECK(w.rows() == 6);
  CHECK(w.name() == "both");
  CHECK_FALSE(w.is_stored());
  const std::vector<float> expected{0, 1, 10, 13, 2, 3, 11, 14, 4, 5, 12, 15};
  for (const std::int64_t step : {1, 2, 3, 5, 6}) CHECK(read_all(w, step) == expected);
  std::vector<float> middle(6);
  w.read(1, 3, middle);
  CHECK(middle == std::vector<float>(expected.begin() + 2, expected.begin() + 8));

  CHECK(complaint([&] {
          weight_source::interleave("both", weight_source::from(c->at("a")), w);
        }).ends_with(": expected a matrix like that of \"a\", [3, 2], found [6, 2]"));
}

TEST_CASE("the bytes of rows") {
  const stored_checkpoint c({{"a", {4, 3}, counting(12)}});
  const weight_source w = weight_source::from(c->at("a"));
  std::vector<std::span<const std::byte>> found;
  w.for_each_range(1, 2, [&](std::span<const std::byte> bytes) { found.push_back(bytes); });
  REQUIRE(found.size() == 1);
  CHECK(found[0].data() == c->at("a").data + 12);
  CHECK(found[0].size() == 24);
  found.clear();
  weight_source columns("leaf", 4);
  columns.append({&c->at("a"), 1, 2, 1, 3});
  columns.for_each_range(0, 2, [&](std::span<const std::byte> bytes) { found.push_back(bytes); });
  REQUIRE(found.size() == 1);
  CHECK(found[0].data() == c->at("a").data + 4);
  CHECK(found[0].size() == 44);
}

TEST_CASE("what is not there or holds no floats is refused") {
  const stored_checkpoint c({{"a", {4, 3}, counting(12)}, {"codes", {2, 2}, counting(4), dtype::i8}});
  CHECK(complaint([&] { weight_source::from(c->at("codes")); }) ==
        c.file() + ": tensor 'codes': expected f32, f16 or bf16, found i8");
  const auto append = [&](const weight_piece& piece) {
    return complaint([&] {
      weight_source w("leaf", 3);
      w.append(piece);
    });
  };
  const tensor_info& a = c->at("a");
  CHECK(append({&a, 3, 3, 3, 1}) == "");
  CHECK(append({&a, 3, 4, 3, 1}) ==
        c.file() + ": tensor 'a': expected a place for 4 rows of 3 from element 3, found shape [4, 3]");
  CHECK(append({&a, -1, 1, 3, 1}) != "");
  CHECK(append({&a, 0, -1, 3, 1}) != "");
  CHECK(append({&a, 0, 2, std::numeric_limits<std::int64_t>::max(), 1}) != "");
  CHECK(append({&a, 0, 1, 3, 6}) != "");
  const weight_source w = weight_source::from(a);
  std::vector<float> out(6);
  const auto read = [&](std::int64_t first, std::int64_t count) {
    return complaint([&] { w.read(first, count, out); });
  };
  CHECK(read(0, 2) == "");
  CHECK(read(3, 2) == c.file() + ": tensor 'a': expected rows of [4, 3], found 2 from row 3 for 6 elements");
  CHECK(read(-1, 2) != "");
  CHECK(read(0, 1) != "");
}
