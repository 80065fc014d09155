// SPDX-License-Identifier: Apache-2.0
// Defines `resolve_weight`, which finds the tensors of a checkpoint that a weight leaf is stored in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/io/checkpoint.hpp"
#include "qwq/model/weight_layout.hpp"
#include "qwq/weights/source.hpp"

namespace qwq {

/// A sorted set of tensor names.
using tensor_names = std::set<std::string, std::less<>>;

namespace detail {

/// The spellings of `name` that a file can have: unchanged, then with each other prefix.
inline std::vector<std::string> spellings(std::span<const std::string_view> prefixes, std::string_view name) {
  std::vector<std::string> out{std::string(name)};
  if (prefixes.empty() || !name.starts_with(prefixes[0])) return out;
  for (const std::string_view prefix : prefixes.subspan(1))
    out.push_back(std::string(prefix) + std::string(name.substr(prefixes[0].size())));
  return out;
}

/// `name` with its suffix `end` replaced by `to`.
inline std::string with_end(std::string_view name, std::string_view end, std::string_view to) {
  return std::string(name.substr(0, name.size() - end.size())) + std::string(to);
}

/// The search for one leaf.
class weight_search {
 public:
  weight_search(const checkpoint& from, const weight_layout& layout, std::string_view name,
                std::span<const std::int64_t> shape, double multiplier, double offset)
      : from_(from),
        layout_(layout),
        name_(name),
        shape_(shape.begin(), shape.end()),
        multiplier_(multiplier),
        offset_(offset) {
    while (shape_.size() > 2 && shape_.back() == 1) shape_.pop_back();  // a 1x1 kernel is stored as a matrix
    if (has_experts() && shape_.size() < 2) refuse_shape("at least two extents");
  }

  weight_source run() const {
    for (const interleaved& turns : layout_.interleaving)
      if (names_leaf(turns.leaf, name_)) return interleave(turns);
    std::vector<std::string> tried;
    for (const std::string& name : spellings(layout_.prefixes, name_)) {
      const std::string first = has_experts() ? expert(name, 0) : name;
      if (has_experts() ? has_an_expert(name) : from_.find(name) != nullptr) return own(name);
      tried.push_back(first);
      for (const stored_as& s : layout_.stored) {
        if (!takes(s)) continue;
        const std::string fused = with_end(name, s.leaf, s.tensor);
        if (const tensor_info* t = from_.find(fused)) return part_of(*t, name);
        if (tried.back() != fused) tried.push_back(fused);
      }
    }
    refuse(tried);
  }

 private:
  bool has_experts() const { return name_.find('*') != name_.npos; }
  std::int64_t experts() const { return has_experts() ? shape_[0] : 1; }
  std::int64_t cols() const { return shape_.empty() ? 1 : shape_.back(); }
  /// Shape of the leaf, or of one of its experts.
  std::vector<std::int64_t> one_shape() const { return {shape_.begin() + (has_experts() ? 1 : 0), shape_.end()}; }
  /// True if the leaf can be stored as `s`: only the rows of a matrix can be part of another tensor.
  bool takes(const stored_as& s) const {
    return names_leaf(s.leaf, name_) && shape_.size() == (has_experts() ? 3u : 2u);
  }

  static std::string expert(const std::string& name, std::int64_t number) {
    const std::size_t star = name.find('*');
    return name.substr(0, star) + std::to_string(number) + name.substr(star + 1);
  }
  bool has_an_expert(const std::string& name) const {
    for (std::int64_t e = 0; e < experts(); ++e)
      if (from_.find(expert(name, e)) != nullptr) return true;
    return false;
  }

  weight_source make() const { return weight_source(name_, cols(), multiplier_, offset_); }

  /// The leaf's own tensor, or those of its experts.
  weight_source own(const std::string& name) const {
    weight_source out = make();
    const std::vector<std::int64_t> expected = one_shape();
    for (std::int64_t e = 0; e < experts(); ++e) {
      const std::string full = has_experts() ? expert(name, e) : name;
      const tensor_info* t = from_.find(full);
      if (t == nullptr)
        throw error(from_.folder() + ": tensor " + quote(full) + ": missing, expected one for each of " +
                    std::to_string(experts()) + " experts");
      if (!folds(*t, expected)) from_.at(full, expected);
      out.append({t, 0, cols() == 0 ? 0 : static_cast<std::int64_t>(t->size()) / cols(), cols(), 1});
    }
    return out;
  }

  /// True if tensor `t` is the matrix [N, K] with more axes: [N, ...] with K elements per row.
  static bool folds(const tensor_info& t, const std::vector<std::int64_t>& expected) {
    return expected.size() == 2 && t.shape.size() > 2 && t.shape[0] == expected[0] && expected[0] > 0 &&
           static_cast<std::int64_t>(t.size()) / expected[0] == expected[1];
  }

  /// The part of the fused tensor `t` that the layout declares. Two declarations can differ in the shape of the tensor.
  weight_source part_of(const tensor_info& t, std::string_view name) const {
    const stored_as* fits = nullptr;
    std::string expected;
    for (const stored_as& s : layout_.stored) {
      if (!takes(s) || with_end(name, s.leaf, s.tensor) != t.name) continue;
      const std::string text = to_string(fused_shape(s));
      if (expected.find(text) == expected.npos) expected += (expected.empty() ? "" : " or ") + text;
      if (!std::ranges::equal(t.shape, fused_shape(s))) continue;
      if (fits != nullptr)
        throw error(std::string(t.file) + ": tensor " + quote(t.name) + ": shape " + text +
                    " fits two declarations of leaf " + quote(name_));
      fits = &s;
    }
    if (fits == nullptr)
      throw error(std::string(t.file) + ": tensor " + quote(t.name) + ": expected shape " + expected + ", found " +
                  to_string(t.shape));
    weight_source out = make();
    const std::int64_t rows = shape_[shape_.size() - 2], all = fits->parts * rows, first = fits->part * rows;
    for (std::int64_t e = 0; e < experts(); ++e)
      out.append(fits->transposed ? weight_piece{&t, e * cols() * all + first, rows, 1, all}
                                  : weight_piece{&t, (e * all + first) * cols(), rows, cols(), 1});
    return out;
  }
  std::vector<std::int64_t> fused_shape(const stored_as& s) const {
    std::vector<std::int64_t> out = shape_;
    std::int64_t &rows = out[out.size() - 2], &columns = out.back();
    rows *= s.parts;
    if (s.transposed) std::swap(rows, columns);
    return out;
  }

  weight_source interleave(const interleaved& turns) const {
    std::vector<std::int64_t> half = shape_;
    if (half.size() < (has_experts() ? 3u : 2u) || half[half.size() - 2] % 2 != 0)
      refuse_shape("an even number of rows");
    half[half.size() - 2] /= 2;
    const auto find = [&](std::string_view end) {
      return weight_search(from_, layout_, with_end(name_, turns.leaf, end), half, multiplier_, offset_).run();
    };
    return weight_source::interleave(name_, find(turns.a), find(turns.b));
  }

  [[noreturn]] void refuse_shape(const std::string& expected) const {
    throw error("weight " + quote(name_) + ": expected " + expected + ", found shape " + to_string(shape_));
  }

  /// Throws `error` with the names that were tried, or the signs that the file stores the weight as codes.
  [[noreturn]] void refuse(const std::vector<std::string>& tried) const {
    constexpr std::string_view plain = ".weight";
    for (const std::string& name : tried)
      for (const std::string_view codes : {".qweight", ".weight_packed", ".weight.absmax"})
        if (name.ends_with(plain) && from_.find(with_end(name, plain, codes)) != nullptr)
          throw error(from_.folder() + ": tensor " + quote(name) + ": expected f32, f16 or bf16, found codes in " +
                      quote(with_end(name, plain, codes)));
    std::string text;
    for (const std::string& name : tried) text += (text.empty() ? "" : ", ") + quote(name);
    throw error(from_.folder() + ": tensor " + quote(name_) + ": missing" +
                (tried.size() == 1 && tried[0] == name_ ? "" : ", looked for " + text));
  }

  const checkpoint& from_;
  const weight_layout& layout_;
  std::string name_;
  std::vector<std::int64_t> shape_;
  double multiplier_, offset_;
};

}  // namespace detail

/// Finds the tensors of weight leaf `name` in a checkpoint. `name` is the leaf's full name, with prefix and layer; `*`
/// represents the number of an expert, and the first extent of `shape` is then the number of experts. The result is the
/// matrix of all rows: [E * N, K] for a leaf [E, N, K], [N, K] for a kernel [N, K, 1, 1]. Its values are multiplier *
/// (stored + offset). Throws `error` if no tensor of that name is stored, an expert is missing, or a tensor has another
/// shape or does not hold floats.
inline weight_source resolve_weight(const checkpoint& from, const weight_layout& layout, std::string_view name,
                                    std::span<const std::int64_t> shape, double multiplier = 1, double offset = 0) {
  return detail::weight_search(from, layout, name, shape, multiplier, offset).run();
}

}  // namespace qwq
