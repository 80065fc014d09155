// SPDX-License-Identifier: Apache-2.0
// Small checkpoints whose elements are known.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwq/core/dtype.hpp>
#include <qwq/io/checkpoint.hpp>
#include <qwq/io/safetensors_writer.hpp>
#include <qwq/weights/source.hpp>

#include "../io/scratch.hpp"

/// A tensor to store: its values are floats that `type` holds exactly.
struct stored_tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  qwq::dtype type = qwq::dtype::f32;
};

/// `count` values that count up from `first`.
inline std::vector<float> counting(std::int64_t count, float first = 0) {
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& v : out) v = first++;
  return out;
}

/// A checkpoint with these tensors in one file.
class stored_checkpoint {
 public:
  explicit stored_checkpoint(const std::vector<stored_tensor>& tensors) : weights_(write(folder_, tensors)) {}

  const qwq::checkpoint& operator*() const { return weights_; }
  const qwq::checkpoint* operator->() const { return &weights_; }
  std::string folder() const { return folder_.folder().string(); }
  std::string file() const { return (folder_ / "model.safetensors").string(); }

 private:
  template <class T>
  static void write_as(qwq::safetensors_writer& file, const stored_tensor& t) {
    std::vector<T> values;
    for (const float v : t.values) values.push_back(static_cast<T>(v));
    file.write(t.name, std::as_bytes(std::span(values)));
  }
  static qwq::checkpoint write(const scratch& folder, const std::vector<stored_tensor>& tensors) {
    qwq::safetensors_writer file(folder / "model.safetensors");
    for (const stored_tensor& t : tensors) file.declare(t.name, t.type, t.shape);
    for (const stored_tensor& t : tensors) {
      if (t.type == qwq::dtype::f32) write_as<float>(file, t);
      if (t.type == qwq::dtype::f16) write_as<qwq::float16>(file, t);
      if (t.type == qwq::dtype::bf16) write_as<qwq::bfloat16>(file, t);
      if (t.type == qwq::dtype::i8) write_as<std::int8_t>(file, t);
    }
    file.commit();
    return qwq::checkpoint::open(folder.folder());
  }

  scratch folder_;
  qwq::checkpoint weights_;
};

/// All rows of a source, read `step` rows at a time.
inline std::vector<float> read_all(const qwq::weight_source& w, std::int64_t step = 1 << 20) {
  std::vector<float> out(w.size());
  for (std::int64_t first = 0; first < w.rows(); first += step) {
    const std::int64_t count = std::min(step, w.rows() - first);
    w.read(
        first, count,
        std::span(out).subspan(static_cast<std::size_t>(first * w.cols()), static_cast<std::size_t>(count * w.cols())));
  }
  return out;
}
