// SPDX-License-Identifier: Apache-2.0
// 4-bit weights where a model bears them, 8 bits in some layers and in some tensors.
#pragma once

#include <qwq/quant/mixed.hpp>

namespace my {

// A scheme with exceptions: the table, the product at the end of each layer, and all of the first and the last layer. A
// name that no weight has, or a layer that the model has not, does not compile.
struct careful : qwq::mixed<qwq::w4_g32, qwq::in_tensors<qwq::w8_g32, "embed_tokens.weight", "mlp.down_proj.weight">,
                            qwq::in_layers<qwq::w8_g32, 0, -1>> {
  static constexpr std::string_view name = "careful";
};

}  // namespace my
