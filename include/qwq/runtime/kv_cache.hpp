// SPDX-License-Identifier: Apache-2.0
// The memory of a KV cache: keys and values of all layers, allocated once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "qwq/kernel/operands.hpp"

namespace qwq {

/// Keys and values of `layers` layers, [kv_heads, capacity, head_dim] of `T` each, all 0 at first. `T` is as in
/// `kernel::kv_view`.
template <class T>
class kv_cache {
 public:
  /// Room for `capacity` tokens in each layer.
  kv_cache(std::int64_t layers, std::int64_t kv_heads, std::int64_t capacity, std::int64_t head_dim)
      : kv_heads_(kv_heads),
        capacity_(capacity),
        head_dim_(head_dim),
        data_bytes_(aligned(kv_heads * capacity * head_dim * static_cast<std::int64_t>(sizeof(T)))),
        each_(data_bytes_ + (kernel::is_kv_code<T> ? aligned(kv_heads * capacity * std::int64_t{sizeof(float)}) : 0)),
        bytes_(new(std::align_val_t{alignment}) std::byte[static_cast<std::size_t>(2 * layers * each_)]) {
    std::fill_n(bytes_.get(), 2 * layers * each_, std::byte{0});
  }

  kernel::kv_view<T> keys(std::int64_t layer) { return view(2 * layer); }
  kernel::kv_view<T> values(std::int64_t layer) { return view(2 * layer + 1); }
  kernel::kv_view<const T> keys(std::int64_t layer) const { return view(2 * layer); }
  kernel::kv_view<const T> values(std::int64_t layer) const { return view(2 * layer + 1); }

 private:
  static constexpr std::int64_t alignment = 64;
  static constexpr std::int64_t aligned(std::int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }
  struct free_aligned {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{alignment}); }
  };

  kernel::kv_view<T> view(std::int64_t i) const {
    std::byte* const at = bytes_.get() + i * each_;
    return {reinterpret_cast<T*>(at), kv_heads_, capacity_, head_dim_,
            kernel::is_kv_code<T> ? reinterpret_cast<float*>(at + data_bytes_) : nullptr};
  }

  std::int64_t kv_heads_, capacity_, head_dim_, data_bytes_, each_;
  std::unique_ptr<std::byte[], free_aligned> bytes_;
};

}  // namespace qwq
