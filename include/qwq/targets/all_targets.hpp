// SPDX-License-Identifier: Apache-2.0
// Defines `supported_by`, the targets with emitters that support a feature, for compiler messages.
#pragma once

#include "qwq/targets/circle.hpp"
#include "qwq/targets/onnx_genai.hpp"
#include "qwq/targets/onnx_standard.hpp"
#include "qwq/targets/onnx_winml.hpp"
#include "qwq/targets/target.hpp"

namespace qwq {

/// A list of targets, for compiler messages. This header includes all targets with emitters.
template <target... Targets>
struct supported_by {};

namespace detail {

template <class Found, class Can>
constexpr Found keep_targets(Found found, Can) {
  return found;
}
template <target... Found, class Can, target First, target... Rest>
constexpr auto keep_targets(supported_by<Found...>, Can can, First, Rest... rest) {
  if constexpr (decltype(can)::template of<First>())
    return keep_targets(supported_by<Found..., First>{}, can, rest...);
  else
    return keep_targets(supported_by<Found...>{}, can, rest...);
}

/// The targets for which `Can::of<Target>()` is true, as a `supported_by`.
template <class Can>
using targets_that = decltype(keep_targets(supported_by<>{}, Can{}, onnx_winml{}, onnx_standard{}, onnx_standard_21{},
                                           onnx_genai{}, circle<>{}, circle_qdq<>{}, tflite<>{}));

}  // namespace detail
}  // namespace qwq
