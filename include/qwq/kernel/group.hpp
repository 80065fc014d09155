// SPDX-License-Identifier: Apache-2.0
// Defines groupwise quantization of a matrix, along rows or columns, to codes of a byte or of 4 bits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "qwq/kernel/observe.hpp"
#include "qwq/kernel/quantize.hpp"

namespace qwq::kernel {

/// Parameters of groups: one scale per `size` elements of a row (`along` row, scales [rows, groups of a row]) or of a
/// column (scales [groups of a column, cols]); the last group can be shorter. `zero_points` has the size of `scales`,
/// or is empty if all are 0.
struct group_affine {
  std::span<const float> scales;              ///< Scales of the groups.
  std::span<const std::int32_t> zero_points;  ///< Zero points of the groups, or empty.
  std::int64_t size = 32;                     ///< Elements per group.
  code_range range;                           ///< Range of the codes.
  channel_axis along = channel_axis::row;     ///< Direction of the groups.
  scaling by = scaling::divide;               ///< How x / scale is computed.

  /// Parameters of `count` channels, from scale `first` on.
  constexpr channel_affine channels(std::int64_t first, std::int64_t count) const {
    const auto at = static_cast<std::size_t>(first), n = static_cast<std::size_t>(count);
    return {scales.subspan(at, n), zero_points.empty() ? zero_points : zero_points.subspan(at, n), range, along, by};
  }
};

/// Number of groups of `size` in n elements.
constexpr std::int64_t group_count(std::int64_t n, std::int64_t size) { return (n + size - 1) / size; }

namespace detail {

template <class Arch, bool Streaming, class To, class From, class F>
void map_groups(plane<To> y, plane<From> x, std::int64_t rows, std::int64_t cols, const group_affine& p, F f) {
  const std::int64_t size = p.size;
  if (p.along == channel_axis::column) {
    for (std::int64_t i = 0; i < rows; i += size)
      map_columns<Arch, Streaming>(plane<To>{y.row(i), y.stride}, plane<From>{x.row(i), x.stride},
                                   std::min(size, rows - i), cols, p.channels(i / size * cols, cols), f);
    return;
  }
  const std::int64_t groups = group_count(cols, size), whole = cols / size;
  with_group(size, [&](auto n) {
    if (groups == whole && y.stride == cols && x.stride == cols)  // each group is a row of the same memory
      return map_rows<Arch, Streaming>(plane<To>{y.first, size}, plane<From>{x.first, size}, rows * groups, n,
                                       p.channels(0, rows * groups), f);
    for (std::int64_t i = 0; i < rows; ++i) {
      const plane<To> to{y.row(i), size};
      const plane<From> from{x.row(i), size};
      map_rows<Arch, Streaming>(to, from, whole, n, p.channels(i * groups, whole), f);
      if (whole < groups)
        map_affine<Arch, false>(to.row(whole), from.row(whole), cols - whole * size,
                                p.channels(i * groups + whole, 1).channel(0), f);
    }
  });
}

/// Calls f with the position of 4-bit codes in `bytes`; the codes are signed if the range is.
template <class Byte, class F>
void with_int4(Byte* bytes, code_range range, F&& f) {
  if (range.min < 0) return f(simd::int4_at<Byte, true>{bytes});
  f(simd::int4_at<Byte, false>{bytes});
}

/// max|x| of as many groups as there are lanes. Prefetches memory two pages ahead: nothing else would request it while
/// these groups are quantized.
template <class Arch, class Size>
simd::batch<Arch> group_abs_max(const float* x, Size size) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::batch<Arch> most[width];
  for (std::int64_t g = 0; g < width; ++g) {
    most[g] = simd::batch<Arch>(0.0f);
    for (std::int64_t i = 0; i < size; i += width) {
      const float* const at = x + g * size + i;
      __builtin_prefetch(at + 2048, 0, 3);
      most[g] = simd::at_least<Arch>(xsimd::abs(simd::load<Arch>(at)), most[g]);
    }
  }
  return simd::reduce_max_each<Arch>(most);
}

template <class Arch>
simd::batch<Arch> scale_of(simd::batch<Arch> most, float highest) {
  return xsimd::select(most == simd::batch<Arch>(0.0f), simd::batch<Arch>(1.0f), most / simd::batch<Arch>(highest));
}

}  // namespace detail

/// y = dequantize(quantize(x)), bitwise equal to both steps. y can be x.
template <class Arch = xsimd::default_arch>
void fake_quantize(matrix_view<float> y, matrix_view<const float> x, const group_affine& p,
                   writes how = writes::automatic) {
  detail::with_writes<Arch>(how, y, x, [&](auto streaming) {
    detail::map_groups<Arch, streaming>(detail::plane_of(y), detail::plane_of(x), x.rows, x.cols, p, detail::to_fake);
  });
}

/// codes = clip(round(x / scale) + zero_point), each in an 8- or 16-bit integer.
template <class Arch = xsimd::default_arch, class Code>
void quantize(matrix_view<Code> codes, matrix_view<const float> x, const group_affine& p) {
  detail::map_groups<Arch, false>(detail::plane_of(codes), detail::plane_of(x), x.rows, x.cols, p, detail::to_code);
}
/// y = (code - zero_point) * scale
template <class Arch = xsimd::default_arch, class Code>
void dequantize(matrix_view<float> y, matrix_view<Code> codes, const group_affine& p) {
  detail::map_groups<Arch, false>(detail::plane_of(y), detail::plane_of(codes), y.rows, y.cols, p, detail::to_value);
}

/// Quantizes to 4-bit codes, two per byte, the first in the low half, rows contiguous. The number of columns and the
/// group size must be even.
template <class Arch = xsimd::default_arch>
void quantize_int4(std::span<std::uint8_t> bytes, matrix_view<const float> x, const group_affine& p) {
  detail::with_int4(bytes.data(), p.range, [&](auto codes) {
    detail::map_groups<Arch, false>(detail::plane<decltype(codes)>{codes, x.cols}, detail::plane_of(x), x.rows, x.cols,
                                    p, detail::to_code);
  });
}
/// Dequantizes 4-bit codes in the layout of `quantize_int4`.
template <class Arch = xsimd::default_arch>
void dequantize_int4(matrix_view<float> y, std::span<const std::uint8_t> bytes, const group_affine& p) {
  detail::with_int4(bytes.data(), p.range, [&](auto codes) {
    detail::map_groups<Arch, false>(detail::plane_of(y), detail::plane<decltype(codes)>{codes, y.cols}, y.rows, y.cols,
                                    p, detail::to_value);
  });
}

/// Scales that map max|x| of each group to the code `highest`: max|x| / highest rounded to f32, or 1 for a group of
/// zeros. NaN elements are ignored.
template <class Arch = xsimd::default_arch>
void group_scales(std::span<float> scales, matrix_view<const float> x, std::int64_t size, float highest,
                  channel_axis along = channel_axis::row) {
  using batch = simd::batch<Arch>;
  constexpr std::int64_t width = simd::lanes<Arch>;
  const auto epilogue = [&](std::span<float> most) {
    simd::transform<Arch>(most.data(), most.data(), static_cast<std::int64_t>(most.size()),
                          [highest](batch v, std::int64_t) { return detail::scale_of<Arch>(v, highest); });
  };
  if (along == channel_axis::column) {
    for (std::int64_t i = 0; i < x.rows; i += size) {
      const auto most = scales.subspan(static_cast<std::size_t>(i / size * x.cols), static_cast<std::size_t>(x.cols));
      std::fill(most.begin(), most.end(), 0.0f);
      abs_max_columns<Arch>(most, x.rows_from(i, std::min(size, x.rows - i)));
      epilogue(most);
    }
    return;
  }
  const std::int64_t groups = group_count(x.cols, size);
  if (x.cols % size == 0 && x.row_stride == x.cols && size % width == 0) {
    const std::int64_t all = x.rows * groups;
    std::int64_t g = 0;
    detail::with_group(size, [&](auto n) {
      for (; g + width <= all; g += width)
        simd::store<Arch>(scales.data() + g,
                          detail::scale_of<Arch>(detail::group_abs_max<Arch>(x.data + g * size, n), highest));
    });
    const auto rest = scales.subspan(static_cast<std::size_t>(g), static_cast<std::size_t>(all - g));
    std::fill(rest.begin(), rest.end(), 0.0f);
    abs_max_rows<Arch>(rest, {x.data + g * size, all - g, size});
    return epilogue(rest);
  }
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t g = 0; g < groups; ++g)
      scales[static_cast<std::size_t>(i * groups + g)] = abs_max<Arch>(x.span(i).subspan(
          static_cast<std::size_t>(g * size), static_cast<std::size_t>(std::min(size, x.cols - g * size))));
  epilogue(scales.first(static_cast<std::size_t>(x.rows * groups)));
}

/// Groups whose scales are computed from their own max|x|, as by `group_scales` with the largest code.
struct group_of_abs_max {
  std::span<float> scales;                 ///< Output: the scales.
  std::int64_t size = 32;                  ///< Elements per group.
  code_range range;                        ///< Range of the codes.
  channel_axis along = channel_axis::row;  ///< Direction of the groups.
  scaling by = scaling::divide;            ///< How x / scale is computed.
};

namespace detail {

/// y = f(x) with the scales of the groups themselves, computed for a part of x just before it is used: for as many
/// groups as there are lanes if groups are contiguous, otherwise for some rows.
template <class Arch, bool Streaming, class To, class F>
void map_groups_of_abs_max(plane<To> y, matrix_view<const float> x, const group_of_abs_max& p, F f) {
  constexpr std::int64_t width = simd::lanes<Arch>, near = 4096;
  const float highest = static_cast<float>(p.range.max);
  const std::int64_t groups = group_count(x.cols, p.size);
  const auto map_part = [&](plane<To> to, matrix_view<const float> part, std::size_t first, std::int64_t count) {
    const auto scales = p.scales.subspan(first, static_cast<std::size_t>(count));
    group_scales<Arch>(scales, part, p.size, highest, p.along);
    map_groups<Arch, Streaming>(to, plane_of(part), part.rows, part.cols,
                                group_affine{scales, {}, p.size, p.range, p.along, p.by}, f);
  };
  if (p.along == channel_axis::row && x.cols % p.size == 0 && x.row_stride == x.cols && y.stride == x.cols &&
      p.size % width == 0) {
    const plane<To> to{y.first, p.size};
    const matrix_view<const float> all{x.data, x.rows * groups, p.size};
    std::int64_t g = 0;
    with_group(p.size, [&](auto size) {
      for (; g + width <= all.rows; g += width) {
        const std::span<float> scales(p.scales.data() + g, static_cast<std::size_t>(width));
        simd::store<Arch>(scales.data(), scale_of<Arch>(group_abs_max<Arch>(all.row(g), size), highest));
        map_rows<Arch, Streaming>(plane<To>{to.row(g), p.size}, plane_of(all.rows_from(g, width)), width, size,
                                  channel_affine{scales, {}, p.range, channel_axis::row, p.by}, f);
      }
    });
    return map_part(plane<To>{to.row(g), p.size}, all.rows_from(g, all.rows - g), static_cast<std::size_t>(g),
                    all.rows - g);
  }
  const bool down = p.along == channel_axis::column;
  const std::int64_t step = down ? p.size : std::max<std::int64_t>(1, near / std::max<std::int64_t>(1, x.cols));
  for (std::int64_t i = 0; i < x.rows; i += step) {
    const std::int64_t rows = std::min(step, x.rows - i);
    map_part(plane<To>{y.row(i), y.stride}, x.rows_from(i, rows),
             static_cast<std::size_t>(down ? i / p.size * x.cols : i * groups), down ? x.cols : rows * groups);
  }
}

}  // namespace detail

/// `group_scales` and `fake_quantize` in one pass over memory.
template <class Arch = xsimd::default_arch>
void fake_quantize(matrix_view<float> y, matrix_view<const float> x, const group_of_abs_max& p,
                   writes how = writes::automatic) {
  detail::with_writes<Arch>(how, y, x, [&](auto streaming) {
    detail::map_groups_of_abs_max<Arch, streaming>(detail::plane_of(y), x, p, detail::to_fake);
  });
}
/// `group_scales` and `quantize_int4` in one pass over memory.
template <class Arch = xsimd::default_arch>
void quantize_int4(std::span<std::uint8_t> bytes, matrix_view<const float> x, const group_of_abs_max& p) {
  detail::with_int4(bytes.data(), p.range, [&](auto codes) {
    detail::map_groups_of_abs_max<Arch, false>(detail::plane<decltype(codes)>{codes, x.cols}, x, p, detail::to_code);
  });
}

}  // namespace qwq::kernel
