// SPDX-License-Identifier: Apache-2.0
// Defines `aligned_bytes`, a buffer aligned for vector loads and stores.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace qwq {

/// Alignment of buffers in bytes: a cache line, and the widest vector.
inline constexpr std::size_t buffer_alignment = 64;

/// `bytes`, rounded up to a multiple of `buffer_alignment`.
constexpr std::size_t align_up(std::size_t bytes) {
  return (bytes + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
}

namespace detail {
struct free_aligned {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{buffer_alignment}); }
};
}  // namespace detail

/// A buffer aligned to `buffer_alignment`.
using aligned_bytes = std::unique_ptr<std::byte[], detail::free_aligned>;

/// Allocates at least `bytes` uninitialized bytes; never null. Throws `std::bad_alloc`.
inline aligned_bytes allocate_aligned(std::size_t bytes) {
  return aligned_bytes(new (std::align_val_t{buffer_alignment}) std::byte[std::max<std::size_t>(bytes, 1)]);
}

}  // namespace qwq
