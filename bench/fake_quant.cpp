// SPDX-License-Identifier: Apache-2.0
// Fake-quantization beside the same arithmetic written by hand: bytes read and written.
#include <array>
#include <string>

#include "limits.hpp"
#include "qwq/kernel/group.hpp"

namespace qwq::bench {

namespace {

using kernel::channel_axis;

constexpr std::int64_t columns = 1024;

struct tensor_size {
  const char* name;
  std::size_t bytes;
  std::int64_t rows() const { return static_cast<std::int64_t>(bytes / sizeof(float)) / columns; }
  std::string shape() const { return std::to_string(rows()) + "x" + std::to_string(columns) + ", " + name; }
  bool past_caches() const { return bytes >= kernel::streaming_bytes; }
};
constexpr tensor_size sizes[] = {
    {"64 KB", std::size_t{64} << 10}, {"4 MB", std::size_t{4} << 20}, {"256 MB", std::size_t{256} << 20}};

/// What all loops take: a matrix, and the scales of what shares one.
struct work {
  buffer<float> x, y, scales;
  std::int64_t rows;
  kernel::code_range range;

  work(std::size_t bytes, std::size_t count, dtype type, bool in_place = false)
      : x(floats(bytes / sizeof(float))),
        y(in_place ? x : make_buffer<float>(bytes / sizeof(float))),
        scales(floats(count, 0.01f, 2)),
        rows(static_cast<std::int64_t>(bytes / sizeof(float)) / columns),
        range(kernel::full_range(type)) {
    for (std::size_t i = 0; i < count; ++i) scales[i] = 0.02f + std::abs(scales[i]);
  }
  matrix_view<const float> in() const { return {x.data(), rows, columns}; }
  matrix_view<float> out() const { return {y.data(), rows, columns}; }
};
using loop = void (*)(const work&);

#if defined(__AVX512F__)

/// The quotient by multiplication and one correction, clipped before it.
struct by_hand {
  __m512 scale, inverse, low, high;

  by_hand(float s, kernel::code_range range)
      : scale(_mm512_set1_ps(s)),
        inverse(_mm512_set1_ps(1 / s)),
        low(_mm512_set1_ps(static_cast<float>(range.min) * s)),
        high(_mm512_set1_ps(static_cast<float>(range.max) * s)) {}
  by_hand(__m512 s, __m512 r, __m512 l, __m512 h) : scale(s), inverse(r), low(l), high(h) {}

  __m512 operator()(__m512 x) const {
    const __m512 shift = _mm512_set1_ps(0x1.8p23f);
    const __m512 v = _mm512_min_ps(_mm512_max_ps(x, low), high), guess = _mm512_mul_ps(v, inverse);
    const __m512 q = _mm512_fmadd_ps(_mm512_fnmadd_ps(guess, scale, v), inverse, guess);
    return _mm512_mul_ps(_mm512_sub_ps(_mm512_add_ps(q, shift), shift), scale);
  }
};

template <bool Streaming>
void put(float* p, __m512 x) {
  if constexpr (Streaming)
    _mm512_stream_ps(p, x);
  else
    _mm512_storeu_ps(p, x);
}

template <bool Streaming>
void tensor_by_hand(const work& w) {
  const by_hand f(w.scales[0], w.range);
  float* const y = w.y.data();
  const float* const x = w.x.data();
  const std::int64_t n = w.rows * columns;
  for (std::int64_t i = 0; i < n; i += 16) put<Streaming>(y + i, f(_mm512_loadu_ps(x + i)));
  _mm_sfence();
}

void tensor_by_division(const work& w) {
  const __m512 scale = _mm512_set1_ps(w.scales[0]), low = _mm512_set1_ps(static_cast<float>(w.range.min)),
               high = _mm512_set1_ps(static_cast<float>(w.range.max));
  float* const y = w.y.data();
  const float* const x = w.x.data();
  const std::int64_t n = w.rows * columns;
  for (std::int64_t i = 0; i < n; i += 16) {
    const __m512 q = _mm512_roundscale_ps(_mm512_div_ps(_mm512_loadu_ps(x + i), scale), 8);
    _mm512_storeu_ps(y + i, _mm512_mul_ps(_mm512_min_ps(_mm512_max_ps(q, low), high), scale));
  }
}

template <bool Streaming>
void rows_by_hand(const work& w) {
  for (std::int64_t i = 0; i < w.rows; ++i) {
    const by_hand f(w.scales[static_cast<std::size_t>(i)], w.range);
    float* const y = w.y.data() + i * columns;
    const float* const x = w.x.data() + i * columns;
    for (std::int64_t j = 0; j < columns; j += 16) put<Streaming>(y + j, f(_mm512_loadu_ps(x + j)));
  }
  _mm_sfence();
}

template <bool Streaming>
void columns_by_hand(const work& w) {
  alignas(64) std::array<float, columns> inverse, low, high;
  const float* const scales = w.scales.data();
  for (std::size_t j = 0; j < columns; ++j) {
    inverse[j] = 1 / scales[j];
    low[j] = static_cast<float>(w.range.min) * scales[j];
    high[j] = static_cast<float>(w.range.max) * scales[j];
  }
  for (std::int64_t i = 0; i < w.rows; ++i) {
    float* const y = w.y.data() + i * columns;
    const float* const x = w.x.data() + i * columns;
    for (std::int64_t j = 0; j < columns; j += 16) {
      const by_hand f(_mm512_loadu_ps(scales + j), _mm512_load_ps(inverse.data() + j), _mm512_load_ps(low.data() + j),
                      _mm512_load_ps(high.data() + j));
      put<Streaming>(y + j, f(_mm512_loadu_ps(x + j)));
    }
  }
  _mm_sfence();
}

template <int Size, bool FromAbsMax, bool Streaming>
void groups_by_hand(const work& w) {
  const std::int64_t n = w.rows * columns;
  for (std::int64_t i = 0; i < n; i += Size) {
    float* const y = w.y.data() + i;
    const float* const x = w.x.data() + i;
    float& scale = w.scales[static_cast<std::size_t>(i / Size)];
    if constexpr (FromAbsMax) {
      __m512 most = _mm512_setzero_ps();
      for (int j = 0; j < Size; j += 16) most = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + j)), most);
      scale = _mm512_reduce_max_ps(most) / static_cast<float>(w.range.max);
    }
    const by_hand f(scale, w.range);
    for (int j = 0; j < Size; j += 16) put<Streaming>(y + j, f(_mm512_loadu_ps(x + j)));
  }
  _mm_sfence();
}

#define QWQ_BY_HAND(plain, streaming) \
  { plain, streaming }
#else
#define QWQ_BY_HAND(plain, streaming) \
  { nullptr, nullptr }
#endif

/// A loop by hand, and the same with stores that bypass the caches.
struct hands {
  loop plain, streaming;
};

void add_case(const std::string& name, const tensor_size& size, std::size_t scales, dtype type, loop ours,
              const hands& by_hand, bool in_place = false, loop division = nullptr) {
  const auto run = [=](loop f) -> maker {
    return [=](executor&) -> call {
      const work w(size.bytes, scales, type, in_place);
      return [=] { f(w); };
    };
  };
  bench_case one{.kernel = name,
                 .shape = size.shape(),
                 .amount = 2 * static_cast<double>(size.bytes),
                 .ours = run(ours),
                 .limits = copy_bandwidth(2 * size.bytes)};
  if (by_hand.plain != nullptr) {
    one.limits = {{"by hand", run(by_hand.plain)}};
    if (size.past_caches() && !in_place) one.limits.push_back({"by hand, streaming", run(by_hand.streaming)});
  }
  if (division != nullptr) one.peers = {{"by hand, vdivps", run(division)}};
  add(std::move(one));
}

kernel::affine tensor_parameters(const work& w) { return {w.scales[0], 0, w.range}; }
void ours_tensor(const work& w) {
  kernel::fake_quantize(std::span<float>(w.y), std::span<const float>(w.x), tensor_parameters(w));
}
template <channel_axis Axis>
void ours_channels(const work& w) {
  kernel::fake_quantize(w.out(), w.in(), kernel::channel_affine{w.scales, {}, w.range, Axis});
}
template <int Size, channel_axis Along = channel_axis::row>
void ours_groups(const work& w) {
  kernel::fake_quantize(w.out(), w.in(), kernel::group_affine{w.scales, {}, Size, w.range, Along});
}
template <int Size>
void ours_groups_of_abs_max(const work& w) {
  kernel::fake_quantize(w.out(), w.in(), kernel::group_of_abs_max{w.scales, Size, w.range});
}

}  // namespace

void add_cases() {
  constexpr hands tensor = QWQ_BY_HAND(tensor_by_hand<false>, tensor_by_hand<true>),
                  rows = QWQ_BY_HAND(rows_by_hand<false>, rows_by_hand<true>),
                  cols = QWQ_BY_HAND(columns_by_hand<false>, columns_by_hand<true>),
                  groups_32 = QWQ_BY_HAND((groups_by_hand<32, false, false>), (groups_by_hand<32, false, true>)),
                  groups_128 = QWQ_BY_HAND((groups_by_hand<128, false, false>), (groups_by_hand<128, false, true>)),
                  of_abs_max = QWQ_BY_HAND((groups_by_hand<32, true, false>), (groups_by_hand<32, true, true>));
#if defined(__AVX512F__)
  constexpr loop division = tensor_by_division;
#else
  constexpr loop division = nullptr;
#endif
  for (const tensor_size& size : sizes) {
    const std::size_t elements = size.bytes / sizeof(float), row_count = elements / columns;
    for (const dtype type : {dtype::u8, dtype::u16, dtype::i8}) {
      const std::string base = "fake_quant_" + std::string(name(type));
      add_case(base, size, 1, type, ours_tensor, tensor, false, division);
      add_case(base + "_row", size, row_count, type, ours_channels<channel_axis::row>, rows);
      add_case(base + "_column", size, columns, type, ours_channels<channel_axis::column>, cols);
    }
    add_case("fake_quant_u8_in_place", size, 1, dtype::u8, ours_tensor, tensor, true);
    add_case("group_int4", size, elements / 32, dtype::i4, ours_groups<32>, groups_32);
    add_case("group_int4_128", size, elements / 128, dtype::i4, ours_groups<128>, groups_128);
    add_case("group_int4_abs_max", size, elements / 32, dtype::i4, ours_groups_of_abs_max<32>, of_abs_max);
    if (row_count >= 32)
      add_case("group_int4_down_columns", size, elements / 32, dtype::i4, ours_groups<32, channel_axis::column>, cols);
  }
}

}  // namespace qwq::bench
