// SPDX-License-Identifier: Apache-2.0
// Defines `weight_source`, the values of one weight leaf as a matrix whose rows are read from a checkpoint.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/io/safetensors.hpp"

namespace qwq {

/// Rows of a stored tensor. Element (r, c) is the tensor's element `first + r * row_stride + c * col_stride`, in
/// row-major order. The tensor must outlive the piece.
struct weight_piece {
  const tensor_info* tensor = nullptr;  ///< The tensor, of a float type.
  std::int64_t first = 0;               ///< Index of element (0, 0).
  std::int64_t rows = 0;                ///< Number of rows.
  std::int64_t row_stride = 0;          ///< Elements from one row to the next.
  std::int64_t col_stride = 1;          ///< Elements from one column to the next.
};

/// The values of one weight leaf: a float matrix [rows, cols] with elements multiplier * (stored + offset). Its rows
/// are those of one or more pieces of stored tensors, concatenated or interleaved. A vector is one row.
class weight_source {
 public:
  /// Makes a matrix without rows. `name` is the leaf's full name, with `*` for the expert number.
  weight_source(std::string name, std::int64_t cols, double multiplier = 1, double offset = 0)
      : name_(std::move(name)), cols_(cols), multiplier_(multiplier), offset_(offset), lanes_(1) {}

  /// Makes a source of a whole tensor: [N, ...] as a matrix of N rows, a vector or scalar as one row.
  static weight_source from(const tensor_info& t, double multiplier = 1, double offset = 0) {
    const auto size = static_cast<std::int64_t>(t.size());
    const std::int64_t rows = t.shape.size() < 2 ? 1 : t.shape[0], cols = rows == 0 ? 0 : size / rows;
    weight_source out(t.name, cols, multiplier, offset);
    out.append({&t, 0, rows, cols, 1});
    return out;
  }

  /// Interleaves the rows of `a` and `b`: a0, b0, a1, b1, ... Throws `error` if they differ in shape, multiplier or
  /// offset.
  static weight_source interleave(std::string name, weight_source a, weight_source b) {
    if (a.rows() != b.rows() || a.cols_ != b.cols_ || a.multiplier_ != b.multiplier_ || a.offset_ != b.offset_ ||
        a.lanes_.size() != 1 || b.lanes_.size() != 1)
      throw error(b.where() + ": expected a matrix like that of " + detail::quote(a.name_) + ", " + a.size_text() +
                  ", found " + b.size_text());
    a.name_ = std::move(name);
    a.lanes_.push_back(std::move(b.lanes_[0]));
    return a;
  }

  /// Appends the rows of `piece`. Throws `error`, with file and tensor, if the tensor does not hold floats or the piece
  /// exceeds it.
  void append(const weight_piece& piece) {
    const tensor_info& t = *piece.tensor;
    const std::string at = std::string(t.file) + ": tensor '" + detail::printable(t.name) + "': ";
    if (!is_plain_float(t.type)) throw error(at + "expected f32, f16 or bf16, found " + std::string(qwq::name(t.type)));
    if (!is_inside(piece, static_cast<std::int64_t>(t.size())))
      throw error(at + "expected a place for " + std::to_string(piece.rows) + " rows of " + std::to_string(cols_) +
                  " from element " + std::to_string(piece.first) + ", found shape " + detail::to_string(t.shape));
    lane& last = lanes_.back();
    weight_piece* before = last.pieces.empty() ? nullptr : &last.pieces.back();
    if (before != nullptr && before->tensor == &t && before->row_stride == piece.row_stride &&
        before->col_stride == piece.col_stride && before->first + before->rows * before->row_stride == piece.first) {
      before->rows += piece.rows;
    } else {
      last.pieces.push_back(piece);
      last.begins.push_back(last.rows);
    }
    last.rows += piece.rows;
  }

  /// Number of rows.
  std::int64_t rows() const { return lanes_[0].rows * static_cast<std::int64_t>(lanes_.size()); }
  /// Number of columns.
  std::int64_t cols() const { return cols_; }
  /// Number of elements.
  std::size_t size() const { return static_cast<std::size_t>(rows() * cols_); }
  double multiplier() const { return multiplier_; }  ///< Factor of stored + offset.
  double offset() const { return offset_; }          ///< Added to stored elements.
  /// The leaf's full name.
  const std::string& name() const { return name_; }
  /// True if the rows are those of several experts' matrices.
  bool of_experts() const { return name_.find('*') != name_.npos; }
  /// Element type of the stored tensors, which must all have the same; if they differ, that of the first.
  dtype type() const { return lanes_[0].pieces.at(0).tensor->type; }

  /// A key that differs for sources of different names or values.
  std::string key() const {
    const auto add = [](char sign, double x) { return sign + std::to_string(std::bit_cast<std::uint64_t>(x)); };
    return name_ + (multiplier_ == 1 ? "" : add('*', multiplier_)) + (offset_ == 0 ? "" : add('+', offset_));
  }

  /// The source in messages, "file: tensor 'name'": the tensor's name if all rows are from one tensor, else the leaf's.
  std::string where() const {
    const tensor_info* one = nullptr;
    bool several = false;
    for_each_tensor([&](const tensor_info& t) {
      several = several || (one != nullptr && one != &t);
      if (one == nullptr) one = &t;
    });
    if (one == nullptr) return "weight '" + detail::printable(name_) + "'";
    return std::string(one->file) + ": tensor '" + detail::printable(several ? name_ : one->name) + "'";
  }

  /// True if the values are stored unchanged: row-major, in one piece, with multiplier 1 and offset 0.
  bool is_stored() const {
    if (multiplier_ != 1 || offset_ != 0 || lanes_.size() != 1 || lanes_[0].pieces.size() != 1) return false;
    return is_row_major(lanes_[0].pieces[0]);
  }
  /// Address of the first stored element, of `type()`, not aligned; null unless `is_stored()`.
  const std::byte* data() const { return is_stored() ? address(lanes_[0].pieces[0], 0) : nullptr; }

  /// Reads rows [first, first + count) into `out`. Throws `error` unless `out` has count * cols() elements.
  void read(std::int64_t first, std::int64_t count, std::span<float> out) const {
    if (first < 0 || count < 0 || first > rows() - count || out.size() != static_cast<std::size_t>(count * cols_))
      throw error(where() + ": expected rows of " + size_text() + ", found " + std::to_string(count) + " from row " +
                  std::to_string(first) + " for " + std::to_string(out.size()) + " elements");
    const auto turns = static_cast<std::int64_t>(lanes_.size());
    for_each_run(first, count, [&](const weight_piece& piece, std::int64_t row, std::int64_t n, std::int64_t to) {
      read_run(piece, row, n, out.data() + to * cols_, turns * cols_);
    });
    if (offset_ != 0)
      for (float& v : out) v += static_cast<float>(offset_);
    if (multiplier_ != 1)
      for (float& v : out) v *= static_cast<float>(multiplier_);
  }

  /// Calls f(bytes) for each range of stored bytes with elements of rows [first, first + count), for hints to the
  /// checkpoint.
  template <class F>
  void for_each_range(std::int64_t first, std::int64_t count, F&& f) const {
    for_each_run(first, count, [&](const weight_piece& piece, std::int64_t row, std::int64_t n, std::int64_t) {
      const std::byte* begin = address(piece, row * piece.row_stride);
      const std::byte* end = address(piece, (row + n - 1) * piece.row_stride + (cols_ - 1) * piece.col_stride + 1);
      f(std::span<const std::byte>(begin, end));
    });
  }

  /// Calls f(tensor) with the tensor of each piece.
  template <class F>
  void for_each_tensor(F&& f) const {
    for (const lane& l : lanes_)
      for (const weight_piece& p : l.pieces) f(*p.tensor);
  }

 private:
  /// Concatenated pieces, and the first row of each.
  struct lane {
    std::vector<weight_piece> pieces;
    std::vector<std::int64_t> begins;
    std::int64_t rows = 0;
  };

  std::string size_text() const { return "[" + std::to_string(rows()) + ", " + std::to_string(cols_) + "]"; }

  static const std::byte* address(const weight_piece& p, std::int64_t element) {
    return p.tensor->data + (p.first + element) * (bits(p.tensor->type) / 8);
  }
  bool is_row_major(const weight_piece& p) const { return p.col_stride == 1 && (p.row_stride == cols_ || p.rows == 1); }

  bool is_inside(const weight_piece& p, std::int64_t size) const {
    if (p.first < 0 || p.rows < 0 || p.row_stride < 0 || p.col_stride < 0) return false;
    if (p.rows == 0 || cols_ == 0) return p.first <= size;
    std::int64_t down = 0, right = 0, last = 0;
    return !__builtin_mul_overflow(p.rows - 1, p.row_stride, &down) &&
           !__builtin_mul_overflow(cols_ - 1, p.col_stride, &right) && !__builtin_add_overflow(down, right, &last) &&
           !__builtin_add_overflow(last, p.first, &last) && last < size;
  }

  /// Calls f(piece, row, n, to) for rows [row, row + n) of each piece that overlaps rows [first, first + count). The
  /// first of them is row first + `to` of the matrix; the row distance in the matrix is the number of lanes.
  template <class F>
  void for_each_run(std::int64_t first, std::int64_t count, F&& f) const {
    if (cols_ == 0) return;
    const auto turns = static_cast<std::int64_t>(lanes_.size());
    for (std::int64_t turn = 0; turn < turns; ++turn) {
      const lane& l = lanes_[static_cast<std::size_t>(turn)];
      std::int64_t row = (first - turn + turns - 1) / turns;
      const std::int64_t end = (first + count - turn + turns - 1) / turns;
      while (row < end) {
        const auto at = static_cast<std::size_t>(std::ranges::upper_bound(l.begins, row) - l.begins.begin() - 1);
        const weight_piece& piece = l.pieces[at];
        const std::int64_t n = std::min(end, l.begins[at] + piece.rows) - row;
        f(piece, row - l.begins[at], n, row * turns + turn - first);
        row += n;
      }
    }
  }

  /// Reads rows [row, row + n) of a piece; `out_stride`: elements of `out` from one row to the next.
  void read_run(const weight_piece& p, std::int64_t row, std::int64_t n, float* out, std::int64_t out_stride) const {
    const auto widen = [&](std::int64_t from, float* to, std::int64_t size) {
      detail::widen(p.tensor->type, address(p, from), {to, static_cast<std::size_t>(size)});
    };
    if (is_row_major(p) && out_stride == cols_) return widen(row * p.row_stride, out, n * cols_);
    if (p.col_stride == 1) {
      for (std::int64_t i = 0; i < n; ++i) widen((row + i) * p.row_stride, out + i * out_stride, cols_);
      return;
    }
    // Column by column: in a transposed matrix the elements of a column are contiguous.
    std::vector<float> column(static_cast<std::size_t>(n));
    for (std::int64_t j = 0; j < cols_; ++j) {
      if (p.row_stride == 1)
        widen(row + j * p.col_stride, column.data(), n);
      else
        for (std::int64_t i = 0; i < n; ++i)
          widen((row + i) * p.row_stride + j * p.col_stride, &column[static_cast<std::size_t>(i)], 1);
      for (std::int64_t i = 0; i < n; ++i) out[i * out_stride + j] = column[static_cast<std::size_t>(i)];
    }
  }

  std::string name_;
  std::int64_t cols_;
  double multiplier_, offset_;
  std::vector<lane> lanes_;
};

}  // namespace qwq
