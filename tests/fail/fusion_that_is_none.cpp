// SPDX-License-Identifier: Apache-2.0
// A target without a fusion that does not exist.
// expect: disable_fusions<Target, Fusions...> takes names of rules::fuse
#include <qwq/targets/disable_fusions.hpp>

using namespace qwq;

static_assert(!disable_fusions<native<>, "fuse_swiglu">::fuses("fuse_swiglu"));
#ifdef FAIL
static_assert(!disable_fusions<native<>, "fuse_swigul">::fuses("fuse_swigul"));
#endif
