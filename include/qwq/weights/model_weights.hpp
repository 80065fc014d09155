// SPDX-License-Identifier: Apache-2.0
// Defines `model_weights`, which finds the leaves of one model in a checkpoint and accounts for its tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "qwq/graph/graph.hpp"
#include "qwq/io/checkpoint.hpp"
#include "qwq/model/weight_layout.hpp"
#include "qwq/weights/account.hpp"
#include "qwq/weights/resolve.hpp"
#include "qwq/weights/source.hpp"

namespace qwq {

/// The weights of a model in a checkpoint. Records the tensors that its leaves are stored in.
class model_weights {
 public:
  /// `layout`: the layout of the model. The checkpoint must outlive the object.
  model_weights(const checkpoint& from, const weight_layout& layout) : from_(from), layout_(layout) {}

  /// Finds the values of weight leaf `n`, whose full name is `name`. Throws `error` as `resolve_weight` does.
  weight_source find(const node& n, const std::string& name) {
    std::vector<std::int64_t> shape;
    for (const dim& d : n.dims()) shape.push_back(d.extent);
    weight_source w = resolve_weight(from_, layout_, name, shape, n.attr.value, n.attr.offset);
    w.for_each_tensor([&](const tensor_info& t) { bound_.insert(t.name); });
    return w;
  }

  /// Names of the tensors that the leaves resolved to.
  const tensor_names& bound() const { return bound_; }
  /// Throws `error` if the checkpoint has tensors that no leaf resolved to and that the layout does not ignore.
  void account() const { account_for_tensors(from_, layout_, bound_); }

 private:
  const checkpoint& from_;
  weight_layout layout_;
  tensor_names bound_;
};

}  // namespace qwq
